// Just enough JSON to read and write a manifest.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace ft {

class Json {
 public:
  enum Kind { Null, Bool, Number, String, List, Object };
  Kind kind = Null;
  bool flag = false;
  double number = 0;
  std::string text;
  std::vector<Json> items;
  std::vector<std::pair<std::string, Json>> fields;

  Json() = default;
  Json(double value) : kind(Number), number(value) {}
  Json(std::string value) : kind(String), text(std::move(value)) {}
  Json(const char* value) : Json(std::string(value)) {}

  static Json truth(bool value) {
    Json made;
    made.kind = Bool, made.flag = value;
    return made;
  }

  static Json object(std::vector<std::pair<std::string, Json>> fields = {}) {
    Json made;
    made.kind = Object, made.fields = std::move(fields);
    return made;
  }

  template <class Items>
  static Json list(const Items& items) {
    Json made;
    made.kind = List;
    for (const auto& item : items) made.items.emplace_back(item);
    return made;
  }

  // Put a field into an object, in the place of one that has the same name.
  Json& set(const std::string& key, Json value) {
    for (auto& field : fields)
      if (field.first == key) return field.second = std::move(value);
    fields.emplace_back(key, std::move(value));
    return fields.back().second;
  }

  static Json parse(const std::string& source) {
    size_t at = 0;
    Json made = value(source, at);
    space(source, at);
    if (at != source.size()) fail("something follows the end");
    return made;
  }

  std::string dump() const {
    std::string made;
    switch (kind) {
      case Null: return "null";
      case Bool: return flag ? "true" : "false";
      case Number: return plain(number);
      case String: return quoted(text);
      case List:
        for (const Json& item : items) made += (made.empty() ? "" : ", ") + item.dump();
        return "[" + made + "]";
      default:
        for (const auto& field : fields)
          made += (made.empty() ? "" : ",\n ") + quoted(field.first) + ": " + field.second.dump();
        return "{" + made + "}";
    }
  }

  const Json* find(const std::string& key) const {
    for (const auto& field : fields)
      if (field.first == key) return &field.second;
    return nullptr;
  }

  const Json& operator[](const std::string& key) const {
    const Json* found = find(key);
    if (!found) fail("the manifest lacks " + key);
    return *found;
  }

 private:
  [[noreturn]] static void fail(const std::string& words) {
    throw std::runtime_error("damaged manifest: " + words);
  }

  static std::string plain(double value) {
    char made[40];
    bool whole = std::abs(value) < 9e15 && value == std::floor(value);
    std::snprintf(made, sizeof made, whole ? "%.0f" : "%.17g", value);
    return made;
  }

  static std::string quoted(const std::string& text) {
    std::string made = "\"";
    for (char c : text) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned char>(c));
      made += c == '"' || c == '\\' ? std::string("\\") + c
              : c < ' ' && c >= 0   ? code
                                    : std::string(1, c);
    }
    return made + "\"";
  }

  static void space(const std::string& s, size_t& at) {
    while (at < s.size() && (s[at] == ' ' || s[at] == '\n' || s[at] == '\t' || s[at] == '\r')) at++;
  }

  static char next(const std::string& s, size_t& at) {
    space(s, at);
    if (at >= s.size()) fail("it is cut short");
    return s[at];
  }

  static bool word(const std::string& s, size_t& at, const char* what) {
    std::string given(what);
    if (s.compare(at, given.size(), given) != 0) return false;
    at += given.size();
    return true;
  }

  static Json value(const std::string& s, size_t& at) {
    Json made;
    char c = next(s, at);
    if (c == '{') {
      made.kind = Object;
      at++;
      while (next(s, at) != '}') {
        std::string key = string(s, at);
        if (next(s, at) != ':') fail("a colon is missing");
        at++;
        made.fields.emplace_back(key, value(s, at));
        if (next(s, at) == ',') at++;
      }
      at++;
    } else if (c == '[') {
      made.kind = List;
      at++;
      while (next(s, at) != ']') {
        made.items.push_back(value(s, at));
        if (next(s, at) == ',') at++;
      }
      at++;
    } else if (c == '"') {
      made.kind = String;
      made.text = string(s, at);
    } else if (word(s, at, "true")) {
      made.kind = Bool;
      made.flag = true;
    } else if (word(s, at, "false")) {
      made.kind = Bool;
    } else if (!word(s, at, "null")) {
      char* end = nullptr;
      made.kind = Number;
      made.number = std::strtod(s.c_str() + at, &end);
      if (end == s.c_str() + at) fail("a value is expected");
      at = static_cast<size_t>(end - s.c_str());
    }
    return made;
  }

  static std::string string(const std::string& s, size_t& at) {
    if (next(s, at) != '"') fail("a string is expected");
    std::string made;
    for (at++; at < s.size() && s[at] != '"'; at++) {
      if (s[at] != '\\') {
        made += s[at];
      } else if (++at < s.size() && s[at] == 'u') {
        long code = std::strtol(s.substr(at + 1, 4).c_str(), nullptr, 16);
        made += code < 128 ? static_cast<char>(code) : '?';  // names of state are ASCII
        at += 4;
      } else if (at < s.size()) {
        const std::string from = "nrtbf", to = "\n\r\t\b\f";
        size_t which = from.find(s[at]);
        made += which == std::string::npos ? s[at] : to[which];
      }
    }
    if (at++ >= s.size()) fail("a string is cut short");
    return made;
  }
};

}  // namespace ft
