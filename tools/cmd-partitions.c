/* SPDX-License-Identifier: BSD-3-Clause */
/* gild partitions: what a disk is divided into, and what is in each part. */
#include "tools/cli.h"

#include <string.h>

#include "tools/json.h"

struct arguments {
	struct open_arguments open;
	bool json;
};

static const struct option_row rows[] = {
	SNAPSHOT_ROW(0, struct arguments, open),
	SOURCE_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	OUTPUT_ROW(struct arguments, json),
	LAST_ROW,
};

/* --- JSON ------------------------------------------------------------- */

static void put_text(json_t *object, const char *key, const char *text)
{
	if (text)
		json_put_text(object, key, text);
}

static void put_content(json_t *object, const struct gild_content *content)
{
	json_t *inside;

	if (!content->type)
		return;
	inside = json_object();
	put_text(inside, "type", content->type);
	put_text(inside, "label", content->label);
	put_text(inside, "uuid", content->uuid);
	json_put(object, "content", inside);
}

static json_t *partition_json(const struct gild_partition *partition)
{
	json_t *object = json_object();

	json_put_number(object, "number", partition->number);
	json_put_number(object, "start", partition->start);
	json_put_number(object, "length", partition->length);
	put_text(object, "type", partition->type);
	put_text(object, "uuid", partition->uuid);
	put_text(object, "name", partition->name);
	json_put_bool(object, "extended", partition->extended);
	put_content(object, &partition->content);
	return object;
}

static json_t *table_json(const struct gild_image *image,
			  const struct gild_partition_table *table)
{
	json_t *object = json_object(), *list = json_array();

	json_put_text(object, "filename", gild_path(image));
	put_text(object, "table", table->type);
	put_text(object, "uuid", table->uuid);
	json_put_number(object, "sector-size", table->sector_size);
	json_put_bool(object, "from-backup", table->from_backup);
	for (size_t i = 0; i < table->count; i++)
		json_add(list, partition_json(&table->items[i]));
	json_put(object, "partitions", list);
	put_content(object, &table->content);
	return object;
}

/* --- text ------------------------------------------------------------- */

static void print_member(const char *name, const char *value)
{
	if (!value)
		return;
	printf("  %s=", name);
	print_name(value);
}

static void print_content(const struct gild_content *content)
{
	print_member("label", content->label);
	print_member("uuid", content->uuid);
}

static void print_partition(const struct gild_partition *partition)
{
	const char *type = partition->content.type;
	char size[32];

	if (partition->extended)
		type = "(extended)";
	printf("%6u  %15ju  %10s  %-12s", partition->number,
	       (uintmax_t)partition->start, human_size(partition->length, size),
	       type ? type : "-");
	print_content(&partition->content);
	print_member("name", partition->name);
	putchar('\n');
}

static void print_table(const struct gild_partition_table *table)
{
	if (!table->type)
		printf("no partition table: %s",
		       table->content.type ? table->content.type :
					     "nothing that is known");
	else
		printf("%s, sectors of %u bytes", table->type,
		       table->sector_size);
	print_content(&table->content);
	print_member("disk", table->uuid);
	putchar('\n');
	if (table->count)
		printf("%6s  %15s  %10s  %s\n", "NUMBER", "START", "SIZE",
		       "CONTENT");
	for (size_t i = 0; i < table->count; i++)
		print_partition(&table->items[i]);
}

/* ------------------------------------------------------------------------- */

static int show(const struct arguments *arguments, struct gild_image *image,
		struct gild_error *err)
{
	struct gild_partition_table *table = gild_partitions(image, err);
	int result = 0;

	if (!table)
		return -1;
	if (table->from_backup)
		report_warning("the partition table at the disk's begin is "
			       "damaged; this is the copy at its end");
	if (arguments->json)
		result = json_print(table_json(image, table), err);
	else
		print_table(table);
	gild_partitions_free(table);
	return result;
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .json = false };
	struct operands operands;
	struct gild_image *image;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);

	if (parsed != PARSE_GO)
		return parsed == PARSE_FAILED;
	if (operands.count != 1) {
		tool_misuse(err, "the name of one image is needed");
		return 1;
	}
	image = open_image(&arguments.open, operands.items[0], 0, err);
	if (!image)
		return 1;
	return close_image(image, show(&arguments, image, err) < 0, err);
}

const struct verb verb_partitions = {
	.name = "partitions",
	.summary = "list partitions, and what filesystems are in them",
	.operands = "FILE",
	.details = "Reads the partition table (GPT, MBR) and the first bytes "
		   "of each partition.\nNothing is mounted.\n",
	.example = "  gild partitions disk.qcow2\n",
	.rows = rows,
	.run = run,
};
