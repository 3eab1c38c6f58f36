/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild info --output=json: QAPI's BlockGraphInfo, with the keys of ours
 * "in-use" and "being-written", which are there only when true.
 */
#include "tools/info.h"

#include "tools/cli.h"
#include "tools/json.h"

static json_t *value_json(const struct gild_value *value)
{
	json_t *json;

	switch (value->type) {
	case GILD_VALUE_BOOL:
		return json_boolean(value->boolean);
	case GILD_VALUE_NUMBER:
		return json_integer((json_int_t)value->number);
	case GILD_VALUE_STRING:
		return json_text(value->string);
	case GILD_VALUE_LIST:
		json = json_array();
		for (size_t i = 0; i < value->count; i++)
			json_add(json, value_json(&value->items[i]));
		return json;
	case GILD_VALUE_OBJECT:
		break;
	}
	json = json_object();
	for (size_t i = 0; i < value->count; i++) {
		json_put(json, value->items[i].name,
			 value_json(&value->items[i]));
		if (info_lacks_header_kind(&value->items[i]))
			json_put_bool(json, "detached-header", false);
	}
	return json;
}

static json_t *snapshot_json(const struct gild_snapshot *snapshot)
{
	const uint64_t second = 1000000000;
	json_t *json = json_object();

	json_put_text(json, "id", snapshot->id);
	json_put_text(json, "name", snapshot->name);
	json_put_number(json, "vm-state-size", snapshot->vm_state_size);
	json_put_number(json, "date-sec", snapshot->date_sec);
	json_put_number(json, "date-nsec", snapshot->date_nsec);
	json_put_number(json, "vm-clock-sec", snapshot->vm_clock_nsec / second);
	json_put_number(json, "vm-clock-nsec",
			snapshot->vm_clock_nsec % second);
	if (snapshot->has_icount)
		json_put_number(json, "icount", snapshot->icount);
	return json;
}

static json_t *file_specific_json(void)
{
	json_t *json = json_object();

	json_put_text(json, "type", "file");
	json_put(json, "data", json_object());
	return json;
}

/* The file that holds the image, as a node of its own. */
static json_t *children_json(const struct gild_info *info)
{
	json_t *file = json_object(), *child = json_object();
	json_t *list = json_array();

	json_put(file, "children", json_array());
	json_put_number(file, "virtual-size", info_file_length(info));
	json_put_text(file, "filename", info->filename);
	json_put_text(file, "format", info_file_driver(info));
	json_put_number(file, "actual-size", info->actual_size);
	if (is_qemu_img())
		json_put(file, "format-specific", file_specific_json());
	json_put_bool(file, "dirty-flag", false);
	json_put_text(child, "name", "file");
	json_put(child, "info", file);
	json_add(list, child);
	return list;
}

static void put_backing(json_t *json, const struct gild_info *info)
{
	if (info->backing_filename)
		json_put_text(json, "backing-filename", info->backing_filename);
	if (info->full_backing_filename)
		json_put_text(json, "full-backing-filename",
			      info->full_backing_filename);
	if (info->backing_format)
		json_put_text(json, "backing-filename-format",
			      info->backing_format);
}

json_t *info_snapshots_json(const struct gild_info *info)
{
	json_t *list = json_array();

	for (size_t i = 0; i < info->snapshot_count; i++)
		json_add(list, snapshot_json(&info->snapshots[i]));
	return list;
}

static void put_snapshots(json_t *json, const struct gild_info *info)
{
	if (info->snapshot_count)
		json_put(json, "snapshots", info_snapshots_json(info));
}

static void put_specific(json_t *json, const struct gild_info *info)
{
	json_t *specific;

	if (!info->specific)
		return;
	specific = json_object();
	json_put_text(specific, "type", info->format);
	json_put(specific, "data", value_json(info->specific));
	json_put(json, "format-specific", specific);
}

json_t *info_json(const struct gild_info *info)
{
	json_t *json = json_object();

	json_put(json, "children", children_json(info));
	put_snapshots(json, info);
	json_put_number(json, "virtual-size", info->virtual_size);
	json_put_text(json, "filename", info->filename);
	if (info->cluster_size)
		json_put_number(json, "cluster-size", info->cluster_size);
	json_put_text(json, "format", info->format);
	json_put_number(json, "actual-size", info->actual_size);
	if (info->encrypted)
		json_put_bool(json, "encrypted", true);
	put_specific(json, info);
	put_backing(json, info);
	json_put_bool(json, "dirty-flag", info->dirty);
	if (info->in_use && !is_qemu_img())
		json_put_bool(json, "in-use", true);
	if (info->being_written && !is_qemu_img())
		json_put_bool(json, "being-written", true);
	return json;
}
