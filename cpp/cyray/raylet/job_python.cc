#include "cyray/raylet/job_python.h"

#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

namespace cyray::raylet {
namespace {

std::string Text(const nlohmann::json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

// One environment has several names for its interpreter: python, python3, python3.11.
bool SameEnvironment(const std::filesystem::path& one, const std::filesystem::path& other) {
  if (one == other) return true;
  if (one.parent_path() != other.parent_path()) return false;
  std::error_code error;
  return std::filesystem::equivalent(one, other, error);
}

}  // namespace

std::optional<JobPython> OwnPythonOf(const std::vector<uint8_t>& config,
                                     const std::string& node_python) {
  const auto parsed = nlohmann::json::parse(config, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return std::nullopt;
  JobPython python{Text(parsed, "python"), Text(parsed, "python_path")};
  if (python.executable.empty() || SameEnvironment(python.executable, node_python)) {
    return std::nullopt;
  }
  if (::access(python.executable.c_str(), X_OK) != 0) return std::nullopt;
  return python;
}

}  // namespace cyray::raylet
