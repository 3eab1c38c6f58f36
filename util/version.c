/* SPDX-License-Identifier: BSD-3-Clause */
/* The version of the library, as compiled into it. */
#include "gild.h"

const char *gild_version(void)
{
	return GILD_VERSION;
}
