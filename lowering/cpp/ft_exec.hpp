// What a stored executable needs, and whether this process has it.
//
// Native code is trusted as much as a shared library. It is loaded only where the plugin is the
// very one that made it and the processor has every instruction set of the one it was made on.
#pragma once

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "ft_file.hpp"
#include "ft_pjrt.hpp"

namespace ft {

// Length and CRC of 64 blocks that are spread over the plugin's file: hashing a quarter of a
// gigabyte at each start would take longer than compiling.
inline std::string plugin_hash(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) throw std::runtime_error(path + ": cannot be opened");
  auto size = static_cast<uint64_t>(in.tellg());
  const uint64_t block = 16384, count = 64;
  std::string sampled;
  for (uint64_t i = 0; i < count; i++) {
    std::string part(block, '\0');
    in.clear();
    in.seekg(static_cast<std::streamoff>(size < block ? 0 : (size - block) / (count - 1) * i));
    in.read(&part[0], static_cast<std::streamsize>(block));
    sampled += part;
  }
  return std::to_string(size) + "-" + std::to_string(crc32(sampled.data(), sampled.size()));
}

// Instruction sets as Linux names them, without punctuation (as Python's side writes them).
inline std::set<std::string> processor_features() {
  std::ifstream in("/proc/cpuinfo");
  std::set<std::string> made;
  for (std::string line; std::getline(in, line);) {
    if (line.compare(0, 5, "flags") != 0 && line.compare(0, 8, "Features") != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    for (std::string word; words >> word;) {
      std::string plain;
      for (char c : word)
        if (c != '_' && c != '.' && c != '-') plain += c;
      made.insert(plain);
    }
    break;
  }
  return made;
}

inline std::string architecture() {
#if defined(__x86_64__)
  return "x86_64";
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "unknown";
#endif
}

// Where executables of this process run.
inline Json target_here(const Runtime& runtime) {
  bool cpu = runtime.platform() == "cpu";
  return Json::object(
      {{"platform", runtime.platform()},
       {"arch", architecture()},
       {"device", cpu ? "cpu" : runtime.device_kind()},
       {"runtime", "PJRT plugin " + plugin_hash(runtime.plugin)},
       {"features", Json::list(cpu ? processor_features() : std::set<std::string>())}});
}

// Why an executable made for `target` cannot be loaded here; "" if it can.
inline std::string unfit(const Json& target, const Json& here) {
  const char* off = std::getenv("FUNTORCH_EXEC");
  if (off && std::string(off) == "0") return "FUNTORCH_EXEC=0";
  for (const char* key : {"platform", "arch", "device", "runtime"})
    if (target[key].text != here[key].text)
      return std::string("made for the ") + key + " " + target[key].text + "; this is " +
             here[key].text;
  std::set<std::string> known = processor_features();
  for (const Json& feature : target["features"].items)
    if (!known.count(feature.text)) return "made for a processor with " + feature.text;
  return "";
}

}  // namespace ft
