// The PJRT C API with owners: a plugin, device buffers, executables.
#pragma once

#include <dlfcn.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "pjrt_c_api.h"

namespace ft {

template <class Args>
Args args() {
  Args made;
  std::memset(&made, 0, sizeof(made));
  made.struct_size = sizeof(made);
  return made;
}

struct Kind {
  const char* name;    // as NumPy says it
  const char* stored;  // as safetensors says it
  const char* mlir;    // as StableHLO says it
  PJRT_Buffer_Type type;
  size_t bytes;
};

inline const Kind& kind_of(const std::string& name) {
  static const Kind kinds[] = {{"bool", "BOOL", "i1", PJRT_Buffer_Type_PRED, 1},
                               {"int8", "I8", "i8", PJRT_Buffer_Type_S8, 1},
                               {"uint8", "U8", "ui8", PJRT_Buffer_Type_U8, 1},
                               {"int16", "I16", "i16", PJRT_Buffer_Type_S16, 2},
                               {"uint16", "U16", "ui16", PJRT_Buffer_Type_U16, 2},
                               {"int32", "I32", "i32", PJRT_Buffer_Type_S32, 4},
                               {"uint32", "U32", "ui32", PJRT_Buffer_Type_U32, 4},
                               {"int64", "I64", "i64", PJRT_Buffer_Type_S64, 8},
                               {"uint64", "U64", "ui64", PJRT_Buffer_Type_U64, 8},
                               {"float16", "F16", "f16", PJRT_Buffer_Type_F16, 2},
                               {"bfloat16", "BF16", "bf16", PJRT_Buffer_Type_BF16, 2},
                               {"float32", "F32", "f32", PJRT_Buffer_Type_F32, 4},
                               {"float64", "F64", "f64", PJRT_Buffer_Type_F64, 8},
                               {"complex64", "C64", "complex<f32>", PJRT_Buffer_Type_C64, 8},
                               {"complex128", "C128", "complex<f64>", PJRT_Buffer_Type_C128, 16}};
  for (const Kind& kind : kinds)
    if (name == kind.name || name == kind.stored) return kind;
  throw std::runtime_error("arrays of type " + name + " are not known here");
}

class Runtime {
 public:
  explicit Runtime(const std::string& plugin) : plugin(plugin) {
    void* library = dlopen(plugin.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) throw std::runtime_error(std::string("no PJRT plugin: ") + dlerror());
    auto get = reinterpret_cast<const PJRT_Api* (*)()>(dlsym(library, "GetPjrtApi"));
    if (!get) throw std::runtime_error(plugin + " is no PJRT plugin");
    api = get();
    if (api->pjrt_api_version.major_version != PJRT_API_MAJOR)
      throw std::runtime_error(plugin + " speaks another version of PJRT");
    auto start = args<PJRT_Plugin_Initialize_Args>();
    check(api->PJRT_Plugin_Initialize(&start));
    auto create = args<PJRT_Client_Create_Args>();
    check(api->PJRT_Client_Create(&create));
    client = create.client;
    auto devices = args<PJRT_Client_AddressableDevices_Args>();
    devices.client = client;
    check(api->PJRT_Client_AddressableDevices(&devices));
    if (!devices.num_addressable_devices) throw std::runtime_error("there is no device");
    device = devices.addressable_devices[0];
  }

  Runtime(const Runtime&) = delete;

  ~Runtime() {
    if (!client) return;
    auto gone = args<PJRT_Client_Destroy_Args>();
    gone.client = client;
    api->PJRT_Client_Destroy(&gone);
  }

  void check(PJRT_Error* error) const {
    if (!error) return;
    auto said = args<PJRT_Error_Message_Args>();
    said.error = error;
    api->PJRT_Error_Message(&said);
    std::string words(said.message, said.message_size);
    auto gone = args<PJRT_Error_Destroy_Args>();
    gone.error = error;
    api->PJRT_Error_Destroy(&gone);
    throw std::runtime_error("XLA: " + words);
  }

  void wait(PJRT_Event* event) const {
    if (!event) return;
    auto until = args<PJRT_Event_Await_Args>();
    until.event = event;
    PJRT_Error* error = api->PJRT_Event_Await(&until);
    auto gone = args<PJRT_Event_Destroy_Args>();
    gone.event = event;
    api->PJRT_Event_Destroy(&gone);
    check(error);
  }

  std::string platform() const {
    auto asked = args<PJRT_Client_PlatformName_Args>();
    asked.client = client;
    check(api->PJRT_Client_PlatformName(&asked));
    return std::string(asked.platform_name, asked.platform_name_size);
  }

  std::string device_kind() const {
    auto described = args<PJRT_Device_GetDescription_Args>();
    described.device = device;
    check(api->PJRT_Device_GetDescription(&described));
    auto asked = args<PJRT_DeviceDescription_Kind_Args>();
    asked.device_description = described.device_description;
    check(api->PJRT_DeviceDescription_Kind(&asked));
    return std::string(asked.device_kind, asked.device_kind_size);
  }

  const std::string plugin;
  const PJRT_Api* api = nullptr;
  PJRT_Client* client = nullptr;
  PJRT_Device* device = nullptr;
};

using Shared = std::shared_ptr<Runtime>;

// An array on the device.
class Buffer {
 public:
  Buffer(Shared runtime, PJRT_Buffer* raw) : runtime_(std::move(runtime)), raw(raw) {}
  Buffer(const Buffer&) = delete;

  ~Buffer() {
    auto gone = args<PJRT_Buffer_Destroy_Args>();
    gone.buffer = raw;
    runtime_->api->PJRT_Buffer_Destroy(&gone);
  }

  static std::shared_ptr<Buffer> put(const Shared& runtime, const void* data, const Kind& kind,
                                     const std::vector<int64_t>& shape) {
    auto given = args<PJRT_Client_BufferFromHostBuffer_Args>();
    given.client = runtime->client;
    given.data = data;
    given.type = kind.type;
    given.dims = shape.data();
    given.num_dims = shape.size();
    given.host_buffer_semantics = PJRT_HostBufferSemantics_kImmutableOnlyDuringCall;
    given.device = runtime->device;
    runtime->check(runtime->api->PJRT_Client_BufferFromHostBuffer(&given));
    runtime->wait(given.done_with_host_buffer);
    return std::make_shared<Buffer>(runtime, given.buffer);
  }

  void get(void* target, size_t size) const {
    auto wanted = args<PJRT_Buffer_ToHostBuffer_Args>();
    wanted.src = raw;
    wanted.dst = target;
    wanted.dst_size = size;
    runtime_->check(runtime_->api->PJRT_Buffer_ToHostBuffer(&wanted));
    runtime_->wait(wanted.event);
  }

 private:
  Shared runtime_;

 public:
  PJRT_Buffer* raw;
};

using Array = std::shared_ptr<Buffer>;

class Executable {
 public:
  // Compile StableHLO, as text or as a portable artifact.
  Executable(Shared runtime, const std::string& code) : runtime_(std::move(runtime)) {
    auto program = args<PJRT_Program>();
    program.code = const_cast<char*>(code.data());
    program.code_size = code.size();
    program.format = "mlir";
    program.format_size = 4;
    // CompileOptionsProto with one replica and one partition on the default device.
    static const unsigned char options[] = {0x1a, 0x0f, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                            0xff, 0xff, 0xff, 0x01, 0x20, 0x01, 0x28, 0x01};
    auto given = args<PJRT_Client_Compile_Args>();
    given.client = runtime_->client;
    given.program = &program;
    given.compile_options = reinterpret_cast<const char*>(options);
    given.compile_options_size = sizeof(options);
    runtime_->check(runtime_->api->PJRT_Client_Compile(&given));
    raw_ = given.executable;
  }

  // What `serialized` returned. Native code: see ft_exec.hpp for what must be checked before.
  static std::unique_ptr<Executable> load(const Shared& runtime, const std::string& bytes) {
    auto given = args<PJRT_Executable_DeserializeAndLoad_Args>();
    given.client = runtime->client;
    given.serialized_executable = bytes.data();
    given.serialized_executable_size = bytes.size();
    runtime->check(runtime->api->PJRT_Executable_DeserializeAndLoad(&given));
    return std::unique_ptr<Executable>(new Executable(runtime, given.loaded_executable));
  }

  Executable(const Executable&) = delete;

  ~Executable() {
    if (!raw_) return;
    auto gone = args<PJRT_LoadedExecutable_Destroy_Args>();
    gone.executable = raw_;
    runtime_->api->PJRT_LoadedExecutable_Destroy(&gone);
  }

  std::string serialized() const {
    auto unloaded = args<PJRT_LoadedExecutable_GetExecutable_Args>();
    unloaded.loaded_executable = raw_;
    runtime_->check(runtime_->api->PJRT_LoadedExecutable_GetExecutable(&unloaded));
    auto made = args<PJRT_Executable_Serialize_Args>();
    made.executable = unloaded.executable;
    PJRT_Error* error = runtime_->api->PJRT_Executable_Serialize(&made);
    std::string bytes;
    if (!error) {
      bytes.assign(made.serialized_bytes, made.serialized_bytes_size);
      made.serialized_executable_deleter(made.serialized_executable);
    }
    auto gone = args<PJRT_Executable_Destroy_Args>();
    gone.executable = unloaded.executable;
    runtime_->api->PJRT_Executable_Destroy(&gone);
    runtime_->check(error);
    return bytes;
  }

  std::vector<Array> operator()(const std::vector<Array>& inputs, size_t n_outputs) const {
    std::vector<PJRT_Buffer*> in, out(n_outputs, nullptr);
    for (const Array& input : inputs) in.push_back(input->raw);
    PJRT_Buffer* const* in_list = in.data();
    PJRT_Buffer** out_list = out.data();
    PJRT_Event* done = nullptr;
    auto options = args<PJRT_ExecuteOptions>();
    auto given = args<PJRT_LoadedExecutable_Execute_Args>();
    given.executable = raw_;
    given.options = &options;
    given.argument_lists = &in_list;
    given.num_devices = 1;
    given.num_args = in.size();
    given.output_lists = &out_list;
    given.device_complete_events = &done;
    runtime_->check(runtime_->api->PJRT_LoadedExecutable_Execute(&given));
    std::vector<Array> made;
    for (PJRT_Buffer* raw : out) made.push_back(std::make_shared<Buffer>(runtime_, raw));
    runtime_->wait(done);
    return made;
  }

 private:
  Executable(Shared runtime, PJRT_LoadedExecutable* raw)
      : runtime_(std::move(runtime)), raw_(raw) {}

  Shared runtime_;
  PJRT_LoadedExecutable* raw_ = nullptr;
};

}  // namespace ft
