#include "cyray/gcs/gcs_server.h"

#include <utility>

namespace cyray::gcs {

GcsServer::~GcsServer() { Stop(); }

Status GcsServer::Start(Options options) {
  Result<std::unique_ptr<SqliteStorage>> storage = SqliteStorage::Open(options.database, &loop_);
  if (!storage.has_value()) return storage.error();
  storage_ = std::move(*storage);
  rpc_ = std::make_unique<RpcServer>(&loop_, options.token);
  RpcServer* const rpc = rpc_.get();
  service_ = std::make_unique<GcsService>(
      &loop_, storage_.get(),
      StreamOutlets{
          .send = [rpc](StreamId stream,
                        const wire::Bytes& message) { rpc->Send(stream, message); },
          .accept = [rpc](StreamId stream) { rpc->Accept(stream); },
          .close = [rpc](StreamId stream, const Status& status) { rpc->Close(stream, status); }},
      options.timing, options.memory);
  CYRAY_RETURN_IF_ERROR(service_->Load());
  // Calls that come before the loop runs are posted and wait for it.
  CYRAY_RETURN_IF_ERROR(rpc_->Start(std::move(options.listening), service_.get()));
  thread_ = std::thread([this] { loop_.Run(); });
  return Status::Ok();
}

void GcsServer::Stop() {
  if (thread_.joinable()) {
    loop_.Post([this] { service_->FailWaiters(); });
    rpc_->Shutdown();
    loop_.Stop();
    thread_.join();
  }
  service_.reset();
  storage_.reset();
  rpc_.reset();
}

}  // namespace cyray::gcs
