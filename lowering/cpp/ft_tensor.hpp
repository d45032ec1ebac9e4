// Arrays in this program's memory.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "ft_pjrt.hpp"

namespace ft {

using Shape = std::vector<int64_t>;

template <class T>
const char* name_of();
template <> inline const char* name_of<float>() { return "float32"; }
template <> inline const char* name_of<double>() { return "float64"; }
template <> inline const char* name_of<int32_t>() { return "int32"; }
template <> inline const char* name_of<int64_t>() { return "int64"; }
template <> inline const char* name_of<uint8_t>() { return "uint8"; }
template <> inline const char* name_of<uint32_t>() { return "uint32"; }
template <> inline const char* name_of<bool>() { return "bool"; }

inline size_t elements(const Shape& shape) {
  size_t n = 1;
  for (int64_t extent : shape) n *= static_cast<size_t>(extent);
  return n;
}

inline std::string words(const std::string& dtype, const Shape& shape) {
  std::string made = dtype + "[";
  for (size_t i = 0; i < shape.size(); i++) made += (i ? ", " : "") + std::to_string(shape[i]);
  return made + "]";
}

// An array in C order.
class Tensor {
 public:
  Tensor(std::string dtype, Shape shape) : dtype(std::move(dtype)), shape(std::move(shape)) {
    bytes.resize(size() * kind_of(this->dtype).bytes);
  }

  template <class T>
  static Tensor of(Shape shape, const std::vector<T>& values) {
    Tensor made(name_of<T>(), std::move(shape));
    if (made.size() != values.size()) throw std::runtime_error("shape and values do not fit");
    if (!values.empty()) std::memcpy(made.bytes.data(), values.data(), made.bytes.size());
    return made;
  }

  size_t size() const { return elements(shape); }

  template <class T>
  T* data() {
    if (dtype != name_of<T>()) throw std::runtime_error("the elements are " + dtype);
    return reinterpret_cast<T*>(bytes.data());
  }

  std::string dtype;
  Shape shape;
  std::vector<char> bytes;
};

}  // namespace ft
