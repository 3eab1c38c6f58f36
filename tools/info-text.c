/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild info for people: the lines of qemu-img 7.2; under its name those of
 * 11.1, where the list of snapshots has other columns, and the file is told of
 * at the end.
 */
#include "tools/info.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "tools/cli.h"

enum {
	INDENT = 4,
};

static void print_field(const char *name, const char *value)
{
	printf("%s: ", name);
	print_name(value);
	putchar('\n');
}

static void print_value(const struct gild_value *value, int indent);

/* JSON's "lazy-refcounts" is "lazy refcounts" here. */
static void print_key(const char *key)
{
	for (; *key; key++)
		putchar(*key == '-' ? ' ' : *key);
}

/* The members of an object or list, each on a line of its own. */
static void print_items(const struct gild_value *value, int indent)
{
	for (size_t i = 0; i < value->count; i++) {
		printf("%*s", indent * INDENT, "");
		if (value->type == GILD_VALUE_LIST)
			printf("[%zu]", i);
		else
			print_key(value->items[i].name);
		putchar(':');
		print_value(&value->items[i], indent);
		if (info_lacks_header_kind(&value->items[i]))
			printf("%*sdetached header: false\n", indent * INDENT,
			       "");
	}
}

static void print_value(const struct gild_value *value, int indent)
{
	switch (value->type) {
	case GILD_VALUE_BOOL:
		printf(" %s\n", value->boolean ? "true" : "false");
		break;
	case GILD_VALUE_NUMBER:
		printf(" %" PRIu64 "\n", value->number);
		break;
	case GILD_VALUE_STRING:
		putchar(' ');
		print_name(value->string);
		putchar('\n');
		break;
	case GILD_VALUE_OBJECT:
	case GILD_VALUE_LIST:
		putchar('\n');
		print_items(value, indent + 1);
		break;
	}
}

/* "-9s " and not "-10s": a long name keeps its distance. */
static void print_padded(const char *text, int width)
{
	print_name(text);
	printf("%*s ",
	       (int)strlen(text) < width ? width - (int)strlen(text) : 0, "");
}

static void print_snapshot(const struct gild_snapshot *snapshot)
{
	const uint64_t millisecond = 1000000, second = 1000 * millisecond;
	uint64_t clock = snapshot->vm_clock_nsec;
	time_t date = (time_t)snapshot->date_sec;
	char size[32], day[32] = "", icount[32] = "", ran[64];
	struct tm tm;

	if (localtime_r(&date, &tm))
		strftime(day, sizeof(day), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(ran, sizeof(ran), "%0*" PRIu64 ":%02d:%02d.%03d",
		 is_qemu_img() ? 4 : 2, clock / second / 3600,
		 (int)(clock / second / 60 % 60), (int)(clock / second % 60),
		 (int)(clock / millisecond % 1000));
	if (snapshot->has_icount)
		snprintf(icount, sizeof(icount), "%" PRIu64, snapshot->icount);
	print_padded(snapshot->id, is_qemu_img() ? 7 : 9);
	print_padded(snapshot->name, 16);
	printf("%8s%20s%*s%11s\n", human_size(snapshot->vm_state_size, size),
	       day, is_qemu_img() ? 16 : 13, ran, icount);
}

void info_snapshots_text(const struct gild_info *info)
{
	if (!info->snapshot_count)
		return;
	printf(is_qemu_img() ? "Snapshot list:\n%-7s %-16s %8s%20s%16s%11s\n" :
			       "Snapshot list:\n%-9s %-16s %8s%20s%13s%11s\n",
	       "ID", "TAG", is_qemu_img() ? "VM_SIZE" : "VM SIZE", "DATE",
	       is_qemu_img() ? "VM_CLOCK" : "VM CLOCK", "ICOUNT");
	for (size_t i = 0; i < info->snapshot_count; i++)
		print_snapshot(&info->snapshots[i]);
}

static void print_backing(const struct gild_info *info)
{
	const char *full = info->full_backing_filename;

	if (!info->backing_filename)
		return;
	printf("backing file: ");
	print_name(info->backing_filename);
	if (full && strcmp(full, info->backing_filename) != 0) {
		printf(" (actual path: ");
		print_name(full);
		putchar(')');
	}
	putchar('\n');
	if (info->backing_format)
		print_field("backing file format", info->backing_format);
}

/* Not in qemu-img, which refuses to look at such an image. */
static void print_use(const struct gild_info *info)
{
	if (is_qemu_img())
		return;
	if (info->being_written)
		printf("in use: yes, being written by another process\n");
	else if (info->in_use)
		printf("in use: yes, by another process\n");
}

bool info_lacks_header_kind(const struct gild_value *value)
{
	return is_qemu_img() && value->name &&
	       !strcmp(value->name, "ivgen-alg");
}

const char *info_file_driver(const struct gild_info *info)
{
	struct stat st;
	bool device = stat(info->filename, &st) == 0 && S_ISBLK(st.st_mode);

	if (!strcmp(info->filename, "null-co://"))
		return "null-co";
	return device ? "host_device" : "file";
}

uint64_t info_file_length(const struct gild_info *info)
{
	if (!is_qemu_img())
		return info->file_length;
	return (info->file_length + 511) & ~511ULL;
}

/* The file that holds the image. */
static void print_child(const struct gild_info *info)
{
	uint64_t length = info_file_length(info);
	char size[32];

	printf("Child node '/file':\n    filename: ");
	print_name(info->filename);
	printf("\n    protocol type: %s\n    file length: %s (%" PRIu64
	       " bytes)\n",
	       info_file_driver(info), human_size(length, size), length);
	printf("    disk size: %s\n", human_size(info->actual_size, size));
}

void info_text(const struct gild_info *info)
{
	char size[32];

	print_field("image", info->filename);
	print_field("file format", info->format);
	printf("virtual size: %s (%" PRIu64 " bytes)\n",
	       human_size(info->virtual_size, size), info->virtual_size);
	printf("disk size: %s\n", human_size(info->actual_size, size));
	if (info->encrypted)
		printf("encrypted: yes\n");
	if (info->cluster_size)
		printf("cluster_size: %" PRIu64 "\n", info->cluster_size);
	if (info->dirty)
		printf("cleanly shut down: no\n");
	print_use(info);
	print_backing(info);
	info_snapshots_text(info);
	if (info->specific && info->specific->count) {
		printf("Format specific information:\n");
		print_items(info->specific, 1);
	}
	if (is_qemu_img())
		print_child(info);
}
