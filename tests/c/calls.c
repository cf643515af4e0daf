/* The C interface as a program in C99 calls it: c_test.cc runs it and compares. docs/use-from-c.md shows it. */
#include "c/calls.h"

#include <string.h>

#include "bitnet/c.h"

/* Appends the reply to a prompt, piece by piece as it comes. */
static bitnet_status Reply(const bitnet_model* model, const char* prompt, size_t new_tokens, void* user,
                           void (*show)(void* user, const char* text, size_t bytes)) {
  bitnet_model_info info = {.struct_bytes = sizeof(info)};
  bitnet_sampler sampler = {.struct_bytes = sizeof(sampler), .temperature = 0.8f, .top_k = 40};
  bitnet_state* state = NULL;
  bitnet_decoder* decoder = NULL;
  uint32_t tokens[1024], ends[16];
  size_t count = 0, end_count = 0, bytes = 0, i, j;
  uint64_t random = 7; /* the seed */
  const float* logits = NULL;
  const char* text = NULL;
  int ended = 0;

  bitnet_status status = bitnet_model_describe(model, &info);
  if (status == BITNET_OK) status = bitnet_model_ends(model, ends, 16, &end_count);
  if (status == BITNET_OK) status = bitnet_state_new(model, 0, &state);
  if (status == BITNET_OK) status = bitnet_decoder_new(model, BITNET_GOES_ON, &decoder);
  if (status == BITNET_OK) status = bitnet_encode(model, prompt, strlen(prompt), 0, tokens, 1024, &count);
  if (status == BITNET_OK) status = bitnet_forward(state, tokens, count, &logits);
  for (i = 0; status == BITNET_OK && i < new_tokens; ++i) {
    uint32_t token = 0;
    status = bitnet_sample(logits, info.vocab, &sampler, &random, &token);
    for (j = 0; j < end_count; ++j) ended = ended || token == ends[j];
    if (status != BITNET_OK || ended) break;
    status = bitnet_decoder_append(decoder, token, &text, &bytes);
    if (status == BITNET_OK) show(user, text, bytes);
    if (status == BITNET_OK) status = bitnet_forward(state, &token, 1, &logits);
  }
  if (status == BITNET_OK) status = bitnet_decoder_finish(decoder, &text, &bytes);
  if (status == BITNET_OK) show(user, text, bytes);
  bitnet_decoder_free(decoder); /* of NULL they do nothing */
  bitnet_state_free(state);
  return status;
}

static void Append(void* user, const char* text, size_t bytes) {
  char* to = user;
  const size_t used = strlen(to);
  if (used + bytes >= REPLY_BYTES) return;
  memcpy(to + used, text, bytes);
  to[used + bytes] = '\0';
}

int ReplyFromC(const char* path, const char* prompt, size_t new_tokens, char* reply) {
  bitnet_load_options options = {.struct_bytes = sizeof(options), .threads = 2};
  bitnet_model* model = NULL;
  bitnet_status status;
  reply[0] = '\0';
  if (bitnet_abi_version() != BITNET_C_ABI_VERSION) return BITNET_FAILED;
  status = bitnet_model_load(path, strlen(path), &options, &model);
  if (status == BITNET_OK) status = Reply(model, prompt, new_tokens, reply, Append);
  bitnet_model_free(model);
  return (int)status;
}
