// WireReader: the fields of a protobuf message, one after the other. A view; every length is checked, and after the
// first fault there are no more fields.
//
//   while (reader.Next()) {
//     if (reader.field() == 3) number = reader.Number();   // a field that is not asked for is skipped
//   }
//   reader.fault()   a sentence with the byte of the file, or empty
#ifndef BITNET_IO_TOKENIZER_WIRE_READER_H_
#define BITNET_IO_TOKENIZER_WIRE_READER_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace bitnet::detail {

class WireReader {
 public:
  // `offset` is where the message begins in the file.
  WireReader(std::string_view message, size_t offset) : message_(message), offset_(offset) {}

  // Goes to the next field; false at the end, and where there is a fault.
  bool Next() {
    field_at_ = next_;
    if (!fault_.empty() || next_ == message_.size()) return false;
    uint64_t tag = 0;
    if (!TakeNumber(tag)) return false;
    field_ = tag >> 3;
    type_ = static_cast<uint32_t>(tag & 7);
    value_ = {};
    number_ = 0;
    if (field_ == 0 || field_ > 0x1fffffff) return Fail("field number " + std::to_string(field_));
    switch (type_) {
      case 0:
        return TakeNumber(number_);
      case 1:
        return Take(8);
      case 2: {
        uint64_t bytes = 0;
        return TakeNumber(bytes) && Take(bytes);
      }
      case 5:
        return Take(4);
      default:
        return Fail("wire type " + std::to_string(type_));
    }
  }

  uint64_t field() const { return field_; }
  // The byte of the file where the field begins.
  size_t at() const { return offset_ + field_at_; }
  const std::string& fault() const { return fault_; }

  // The field's value; a fault where it is written as another type.
  uint64_t Number() {
    Expect(0, "a number");
    return number_;
  }
  float Float() {
    if (!Expect(5, "a 32-bit real")) return 0.0f;
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; ++i) bits |= uint32_t{static_cast<uint8_t>(value_[i])} << (8 * i);
    return std::bit_cast<float>(bits);
  }
  std::string_view Bytes() {
    Expect(2, "bytes");
    return type_ == 2 ? value_ : std::string_view();
  }
  WireReader Message() {
    const std::string_view bytes = Bytes();
    WireReader message(bytes, offset_ + next_ - bytes.size());
    message.fault_ = fault_;
    return message;
  }

 private:
  bool Fail(const std::string& why) {
    if (fault_.empty()) fault_ = "at byte " + std::to_string(at()) + ": this is no protobuf message: " + why;
    return false;
  }
  bool Expect(uint32_t type, const char* what) {
    if (type_ == type) return true;
    return Fail("field " + std::to_string(field_) + " has wire type " + std::to_string(type_) + "; " + what +
                " was expected");
  }
  bool Take(uint64_t bytes) {
    if (bytes > message_.size() - next_) {
      return Fail(std::to_string(bytes) + " bytes were expected, " + std::to_string(message_.size() - next_) +
                  " are left");
    }
    value_ = message_.substr(next_, static_cast<size_t>(bytes));
    next_ += static_cast<size_t>(bytes);
    return true;
  }
  bool TakeNumber(uint64_t& number) {
    number = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (next_ == message_.size()) return Fail("it ends within a number");
      const auto byte = static_cast<uint8_t>(message_[next_++]);
      number |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return true;
    }
    return Fail("a number of more than 10 bytes");
  }

  std::string_view message_;
  size_t offset_;
  size_t next_ = 0, field_at_ = 0;
  uint64_t field_ = 0, number_ = 0;
  uint32_t type_ = 0;
  std::string_view value_;
  std::string fault_;
};

}  // namespace bitnet::detail

#endif  // BITNET_IO_TOKENIZER_WIRE_READER_H_
