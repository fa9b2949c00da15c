#include "cyray/raylet/registrar.h"

#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FrameType;
using wire::FromWire;
using wire::FromWireOrNil;
using wire::ToWire;

constexpr int64_t kWorkerWaitMs = 3000;

}  // namespace

bool Registrar::OnRegister(ClientConnection& client, const wire::Register* request) {
  if (request == nullptr || request->worker_id() == nullptr || client.registered) return false;
  const WorkerId worker = FromWire(*request->worker_id());
  const bool is_worker = request->kind() == wire::ClientKind::Worker;
  if (worker.is_nil() || is_worker == client.worker_id.is_nil()) return false;
  if (is_worker && worker != client.worker_id) return false;
  if (!parts_.clients->Name(client, worker)) return false;
  client.kind = request->kind();
  client.pid = request->pid();
  if (is_worker) {
    client.registered = true;
    Answer(client);
    parts_.workers->OnRegistered(client.worker(), client.pid);
  } else {
    RegisterDriver(client, *request);
  }
  return true;
}

void Registrar::RegisterDriver(ClientConnection& client, const wire::Register& request) {
  client.name_space = flatbuffers::GetString(request.namespace_());
  client.log_to_driver = request.log_to_driver();
  parts_.workers->EnsurePrestarted();
  const std::vector<uint8_t> config = wire::BytesOrEmpty(request.job_config());
  FlatBufferBuilder builder;
  const auto name_space = builder.CreateString(client.name_space);
  const auto entrypoint = builder.CreateString(flatbuffers::GetString(request.entrypoint()));
  const auto config_bytes = builder.CreateVector(config);
  const Address driver = parts_.options->AddressOf(client.worker());
  builder.Finish(wire::CreateRegisterJobRequest(builder, ToWire(driver), client.pid, name_space,
                                                entrypoint, config_bytes));
  const uint64_t id = client.id();
  parts_.gcs->Call(wire::GcsMethod::RegisterJob, builder, [this, id, config](auto reply) {
    OnJobRegistered(id, config, std::move(reply));
  });
}

void Registrar::OnJobRegistered(uint64_t client_id, const std::vector<uint8_t>& config,
                                Result<wire::Bytes> reply) {
  ClientConnection* client = parts_.clients->FindById(client_id);
  const auto* answer = reply ? wire::VerifiedRoot<wire::RegisterJobReply>(*reply) : nullptr;
  if (client == nullptr) {  // it left meanwhile
    if (answer != nullptr) FinishJob(FromWireOrNil(answer->job_id()));
    return;
  }
  if (answer == nullptr) {
    Refuse(*client, "the GCS did not register the job: " +
                        (reply ? std::string("its answer is not valid") : reply.error().message()));
    return;
  }
  client->job = FromWireOrNil(answer->job_id());
  const auto python = OwnPythonOf(config, parts_.options->python);
  parts_.jobs->Add({client->job, parts_.options->AddressOf(client->worker()), client->name_space,
                    config, python, answer->change()});
  if (python || parts_.workers->HasIdleUnbound() || parts_.workers->pool().starting_count() == 0) {
    Answer(*client);
    return;
  }
  awaiting_worker_.Start(client_id, kWorkerWaitMs, [this, client_id] {
    if (ClientConnection* waiting = parts_.clients->FindById(client_id)) Answer(*waiting);
  });
}

std::vector<ClientConnection*> Registrar::TakeWaiting() {
  std::vector<ClientConnection*> waiting;
  for (const uint64_t id : awaiting_worker_.keys()) {
    if (ClientConnection* client = parts_.clients->FindById(id)) waiting.push_back(client);
  }
  awaiting_worker_.StopAll();
  return waiting;
}

void Registrar::OnWorkerIdle() {
  for (ClientConnection* client : TakeWaiting()) Answer(*client);
}

void Registrar::OnCannotStart(const std::string& why) {
  for (ClientConnection* client : TakeWaiting()) Refuse(*client, why);
}

void Registrar::Answer(ClientConnection& client) {
  const store::Arena& arena = parts_.store->arena();
  Result<UniqueFd> read_only = arena.DuplicateReadOnly();
  Result<UniqueFd> read_write = arena.DuplicateReadWrite();
  if (!read_only || !read_write) {
    Refuse(client, "the object store's memory cannot be shared: too many open files");
    return;
  }
  std::vector<UniqueFd> fds;
  fds.push_back(std::move(*read_only));
  fds.push_back(std::move(*read_write));
  Result<UniqueFd> notes = notes_.Share(client.worker());
  if (!notes) return Refuse(client, notes.error().message());
  fds.push_back(std::move(*notes));
  client.registered = true;
  FlatBufferBuilder builder;
  const auto session = builder.CreateString(parts_.options->session_dir);
  const auto ip = builder.CreateString(parts_.options->node_ip);
  const auto gcs = builder.CreateString(parts_.gcs->address());
  const auto name_space = builder.CreateString(client.name_space);
  builder.Finish(wire::CreateRegisterReply(builder, true, 0, ToWire(parts_.options->node_id),
                                           ToWire(client.job), arena.capacity_bytes(), session, ip,
                                           gcs, name_space, parts_.options->metrics_port));
  parts_.clients->SendWithFds(client, FrameType::kRegisterReply, builder, std::move(fds));
}

void Registrar::Refuse(ClientConnection& client, const std::string& error) {
  CYRAY_LOG(kError) << "a client cannot register: " << error;
  FlatBufferBuilder builder;
  const auto text = builder.CreateString(error);
  builder.Finish(wire::CreateRegisterReply(builder, false, text));
  parts_.clients->Send(client, FrameType::kRegisterReply, builder);
}

void Registrar::OnDriverGone(const ClientConnection& driver) {
  awaiting_worker_.Stop(driver.id());
  (void)notes_.Take(driver.worker());
  if (!driver.job.is_nil()) FinishJob(driver.job);
}

void Registrar::FinishJob(const JobId& job) {
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateFinishJobRequest(builder, ToWire(job)));
  parts_.gcs->Call(wire::GcsMethod::FinishJob, builder, [](Result<wire::Bytes> reply) {
    if (!reply) {
      CYRAY_LOG(kWarning) << "FinishJob: " << reply.error().message();
    }
  });
}

}  // namespace cyray::raylet
