/* What calls.c offers to c_test.cc. */
#ifndef BITNET_TESTS_C_CALLS_H_
#define BITNET_TESTS_C_CALLS_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A reply to the prompt, drawn at a temperature of 0.8 from 40 tokens with the seed 7, ended by a zero byte. Returns 0,
 * or the line in calls.c where something failed. */
int GenerateFromC(const char* path, const char* prompt, size_t new_tokens, char* reply, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif /* BITNET_TESTS_C_CALLS_H_ */
