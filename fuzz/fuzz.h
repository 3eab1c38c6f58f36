/* SPDX-License-Identifier: BSD-3-Clause */
/* What the fuzz targets share. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An input larger than this teaches nothing new and takes long. */
#define FUZZ_MAX_INPUT (1U << 20)

/* Set by targets that judge: was the last input a valid one? memory.c */
extern bool fuzz_accepted;

/* The name that libFuzzer calls. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
