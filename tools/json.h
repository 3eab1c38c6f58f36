/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON as qemu-img prints it: four spaces of indent, ASCII only. A value that
 * could not be made (memory) is remembered, and json_print reports it.
 */
#ifndef TOOLS_JSON_H
#define TOOLS_JSON_H

#include <jansson.h>

#include "gild.h"

/* Add a member; takes value over. */
void json_put(json_t *object, const char *key, json_t *value);

/* The same for strings of any bytes (what is not UTF-8 becomes U+FFFD, as
 * QEMU does), numbers and booleans. */
void json_put_text(json_t *object, const char *key, const char *text);
void json_put_number(json_t *object, const char *key, uint64_t number);
void json_put_bool(json_t *object, const char *key, bool value);

/* Append to an array; takes value over. */
void json_add(json_t *array, json_t *value);

json_t *json_text(const char *text);

/* Print on standard output and free. */
int json_print(json_t *json, struct gild_error *err);

#endif
