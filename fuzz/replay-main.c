/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gives files to a fuzz target, one after the other, without libFuzzer: the
 * corpus as a test, built with gcc and any sanitizer.
 *
 *     replay FILE...
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz/fuzz.h"

static unsigned char *read_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	unsigned char *bytes;
	long length;

	if (!file || fseek(file, 0, SEEK_END) || (length = ftell(file)) < 0)
		return NULL;
	rewind(file);
	bytes = malloc(length ? (size_t)length : 1);
	*size = bytes ? fread(bytes, 1, (size_t)length, file) : 0;
	fclose(file);
	if (bytes && *size == (size_t)length)
		return bytes;
	free(bytes);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned char *bytes;
	size_t size;

	if (argc < 2) {
		fprintf(stderr, "replay: no files\n");
		return 2;
	}
	for (int i = 1; i < argc; i++) {
		bytes = read_file(argv[i], &size);
		if (!bytes) {
			fprintf(stderr, "replay: cannot read %s\n", argv[i]);
			return 2;
		}
		LLVMFuzzerTestOneInput(bytes, size);
		free(bytes);
	}
	printf("%d inputs\n", argc - 1);
	return 0;
}
