/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our errors in qemu-img's words, so that what matches those goes on to match.
 * A row is a pair of sentences. In ours, * stands for any text, and %1 for the
 * same text as the first *; in theirs %1, %2 ... stand for what the stars
 * were. Rows are tried in their order; what none of them fits is printed as it
 * is. tools/test-compat.sh compares with qemu-img itself.
 */
#include "tools/personality.h"

#include <string.h>

enum {
	MAX_STARS = 4,
};

enum {
	WITH_VERB = 1 << 0, /* "qemu-img VERB: " */
	MISUSE = 1 << 1,    /* and where help is */
};

#define KEEP "" /* our hint */

struct row {
	const char *ours, *theirs;
	const char *hint; /* the line below; NULL: none */
	unsigned flags;
};

static const struct row rows[] = {
	/* Opening. */
	{ "Could not open '*': %1: its backing file: *: is in use: cannot get \"*\" lock",
	  "Could not open '%1': Could not open backing file: Failed to get \"%3\" lock",
	  "Is another process using the image [%2]?", 0 },
	{ "Could not open '*': %1: its backing file: *: is being written: cannot get shared \"*\" lock",
	  "Could not open '%1': Could not open backing file: Failed to get shared \"%3\" lock",
	  "Is another process using the image [%2]?", 0 },
	{ "Could not open '*': *: its data file: *: is in use: cannot get \"*\" lock",
	  "Could not open '%1': Failed to get \"%4\" lock",
	  "Is another process using the image [%3]?", 0 },
	{ "Could not open '*': *: its data file: *: is being written: cannot get shared \"*\" lock",
	  "Could not open '%1': Failed to get shared \"%4\" lock",
	  "Is another process using the image [%3]?", 0 },
	{ "Could not open '*': %1: its data file: *: cannot be opened: *",
	  "Could not open '%1': Could not open '%2': %3", NULL, 0 },
	{ "Could not open '*': %1: its backing file: *: not a * image",
	  "Could not open '%1': Could not open backing file: Image is not in %3 format",
	  NULL, 0 },
	{ "Could not open '*': *: is in use: cannot get \"*\" lock",
	  "Could not open '%1': Failed to get \"%3\" lock",
	  "Is another process using the image [%2]?", 0 },
	{ "Could not open '*': *: is being written: cannot get shared \"*\" lock",
	  "Could not open '%1': Failed to get shared \"%3\" lock",
	  "Is another process using the image [%2]?", 0 },
	{ "Could not open '*': %1: cannot be opened: *",
	  "Could not open '%1': Could not open '%1': %2", NULL, 0 },
	{ "Could not open '*': %1: in its backing chain: *: its backing file: *: cannot be opened: *",
	  "Could not open '%1': Could not open backing file: Could not open backing file: Could not open '%3': %4",
	  NULL, 0 },
	{ "Could not open '*': %1: its backing file: unknown format \"*\"",
	  "Could not open '%1': Could not open backing file: Unknown driver '%2'",
	  NULL, 0 },
	{ "Could not open '*': %1: its backing file: *: cannot be opened: *",
	  "Could not open '%1': Could not open backing file: Could not open '%2': %3",
	  NULL, 0 },
	{ "Could not open '*': %1: *: cannot be opened: *",
	  "Could not open '%1': Could not open '%2': %3", NULL, 0 },
	{ "Could not open '*': driver \"*\" is not known here",
	  "Could not open '%1': Unknown driver '%2'", NULL, 0 },
	{ "Could not open '*': driver *: option \"*\" is not known here",
	  "Could not open '%1': Block format '%2' does not support the option '%3'",
	  NULL, 0 },
	{ "Could not open '*': is to be written, and \"read-only=on\" forbids it",
	  "Could not open '%1': Block node is read-only", NULL, 0 },
	{ "Could not open '*': *: cannot be opened: *",
	  "Could not open '%1': Could not open backing file: Could not open '%2': %3",
	  NULL, 0 },
	{ "Could not open '*': %1: not a * image",
	  "Could not open '%1': Image is not in %2 format", NULL, 0 },
	{ "Could not open '*': unknown format \"*\"",
	  "Could not open '%1': Unknown driver '%2'", NULL, 0 },
	{ "Could not open '*': %1: there is no snapshot \"*\"",
	  "Failed to load snapshot: Can't find snapshot", NULL, 0 },
	{ "Could not open '*': %1: *", "Could not open '%1': %2", KEEP, 0 },
	/* Creating. */
	{ "create '*': %1: is in use: cannot get \"*\" lock",
	  "%1: Failed to get \"%2\" lock",
	  "Is another process using the image [%1]?", 0 },
	{ "create '*': %1: is being written: cannot get shared \"*\" lock",
	  "%1: Failed to get shared \"%2\" lock",
	  "Is another process using the image [%1]?", 0 },
	{ "create '*': %1: would be in its own backing chain",
	  "%1: Error: Trying to create an image with the same filename as the backing file",
	  NULL, 0 },
	{ "create '*': %1: its backing file: *: its backing file: *: cannot be opened: *",
	  "%1: Could not open backing file: Could not open '%3': %4",
	  "Could not open backing image.", 0 },
	{ "create '*': %1: its backing file: *: cannot be opened: *",
	  "%1: Could not open '%2': %3", "Could not open backing image.", 0 },
	{ "create '*': backing file: unknown format \"*\"",
	  "%1: Unknown driver '%2'", "Could not open backing image.", 0 },
	{ "create '*': %1: its backing file: *", "%1: %2",
	  "Could not open backing image.", 0 },
	{ "create '*': unknown format \"*\"", "%1: Unknown file format '%2'",
	  NULL, 0 },
	{ "create '*': unknown option \"*\"", "%1: Invalid parameter '%2'",
	  NULL, 0 },
	{ "create '*': %1: cannot be created: *",
	  "%1: Could not create '%1': %2", NULL, 0 },
	{ "create '*': %1: a size is needed",
	  "%1: Image creation needs a size parameter", NULL, 0 },
	{ "create '*': %1: the size is given twice",
	  "%1: The image size must be specified only once", NULL, 0 },
	{ "create '*': backing file *: its format is not given",
	  "%1: Backing file specified without backing format", KEEP, 0 },
	{ "create '*': -F makes no sense without -b",
	  "%1: Backing format cannot be used without backing file", NULL, 0 },
	{ "create '*': option \"extent_size_hint\" is too large",
	  "%1: Extent size hint is too large", NULL, 0 },
	{ "create '*': option \"*\" is on or off, not *",
	  "%1: Parameter '%2' expects 'on' or 'off'", NULL, 0 },
	{ "create '*': %1: option \"*\" is on or off, not *",
	  "%1: Parameter '%2' expects 'on' or 'off'", NULL, 0 },
	{ "create '*': %1: option \"cluster_size\" is a power of two *",
	  "%1: Cluster size must be a power of two between 512 and 2048k",
	  NULL, 0 },
	{ "create '*': %1: preallocation of a raw image is *, not \"*\"",
	  "%1: Unsupported preallocation mode: %3", NULL, 0 },
	{ "create '*': %1: a raw image cannot have a backing file",
	  "%1: Backing file not supported for file format 'raw'", NULL, 0 },
	{ "create '*': '*' is not a size",
	  "Invalid image size specified: '%2'", NULL, 0 },
	{ "create '*': size '*' is beyond *",
	  "Invalid image size specified. Must be between 0 and 9223372036854775807.",
	  NULL, 0 },
	{ "create '*': %1: *", "%1: %2", KEEP, 0 },
	{ "create '*': *", "%1: %2", KEEP, 0 },
	/* Converting. */
	{ "convert '*' '*': %1: cannot be created: *",
	  "%1: error while converting %2: Could not create '%1': %3", NULL, 0 },
	{ "convert '*' '*': %1: is the source itself, or in its backing chain",
	  "%1: error while converting %2: Failed to get \"write\" lock",
	  "Is another process using the image [%1]?", 0 },
	{ "convert '*' '*': %1: is in use: cannot get \"*\" lock",
	  "%1: error while converting %2: Failed to get \"%3\" lock",
	  "Is another process using the image [%1]?", 0 },
	{ "convert '*' '*': %1: is being written: cannot get shared \"*\" lock",
	  "%1: error while converting %2: Failed to get shared \"%3\" lock",
	  "Is another process using the image [%1]?", 0 },
	{ "convert '*' '*': unknown format \"*\"",
	  "Unknown file format '%3'", NULL, 0 },
	{ "convert '*' '*': unknown option \"*\"", "Invalid parameter '%3'",
	  NULL, 0 },
	{ "convert '*' '*': format * has no compressed clusters",
	  "Compression not supported for this file format", NULL, 0 },
	{ "convert '*' '*': %1: cannot be opened: *",
	  "Could not open '%1': Could not open '%1': %3", NULL, 0 },
	{ "convert '*' '*': format * has no bitmaps",
	  "Format driver '%3' does not support bitmaps", NULL, 0 },
	{ "convert '*' '*': *: has no bitmaps: *",
	  "Source lacks bitmap support", NULL, 0 },
	{ "convert '*' '*': *: bitmap \"*\" is inconsistent and cannot be copied",
	  "Cannot copy inconsistent bitmap '%4'",
	  "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it",
	  0 },
	{ "convert '*' '*': --skip-broken-bitmaps requires --bitmaps",
	  "Use of --skip-broken-bitmaps requires --bitmaps", NULL, 0 },
	{ "convert '*' '*': bitmaps can be copied from one image only",
	  "Copying bitmaps only possible with single source", NULL, 0 },
	{ "convert '*' '*': *", "%3", KEEP, 0 },
	{ "*: bitmap \"*\" is inconsistent and is left out",
	  "Skipping inconsistent bitmap '%2'", NULL, 0 },
	{ "backing file *: its format is not given",
	  "Use of backing file requires explicit backing format", NULL, 0 },
	/* Bitmaps. */
	{ "Operation * on bitmap * failed: *: there is a bitmap \"*\" already",
	  "Operation %1 on bitmap %2 failed: Bitmap already exists: %4", NULL,
	  0 },
	{ "Operation * on bitmap * failed: a bitmap's granularity is *",
	  "Operation %1 on bitmap %2 failed: Granularity must be power of 2 and at least 512",
	  NULL, 0 },
	{ "Operation * on bitmap  failed: a bitmap's name has *",
	  "Operation %1 on bitmap  failed: Bitmap name cannot be empty", NULL,
	  0 },
	{ "Operation * on bitmap * failed: *: there is no bitmap \"*\"",
	  "Operation %1 on bitmap %2 failed: Dirty bitmap '%4' not found", NULL,
	  0 },
	{ "Operation * on bitmap * failed: *: bitmap \"*\" is inconsistent: who wrote to the disk last did not store it",
	  "Operation %1 on bitmap %2 failed: Bitmap '%4' is inconsistent and cannot be used",
	  "Try block-dirty-bitmap-remove to delete this bitmap from disk", 0 },
	{ "at least one of --add, --remove, --remove-all, --clear, --enable, --disable and --merge is needed",
	  "Need at least one of --add, --remove, --remove-all, --clear, --enable, --disable, or --merge",
	  NULL, 0 },
	{ "the names of an image and of a bitmap are needed",
	  "Expecting filename and bitmap name", NULL, 0 },
	{ "the name of an image alone is needed", "Expecting filename", NULL,
	  0 },
	{ "-g makes no sense without --add",
	  "granularity only supported with --add", NULL, 0 },
	{ "-b makes no sense without --merge",
	  "Merge bitmap source file only supported with --merge", NULL, 0 },
	{ "-F makes no sense without -b", "-F only supported with -b", NULL,
	  0 },
	/* Other verbs. */
	{ "Could not apply snapshot '*': *: there is no snapshot *",
	  "Could not apply snapshot '%1': Failed to load snapshot: No such file or directory",
	  NULL, 0 },
	{ "Could not delete snapshot '*': *: there is no snapshot *",
	  "Could not delete snapshot '%1': snapshot not found", NULL, 0 },
	{ "Could not * snapshot '*': *: format * has no snapshots",
	  "Could not %1 snapshot '%2': Operation not supported", NULL, 0 },
	{ "commit '*' '*': %1: cannot be opened: *",
	  "Did not find '%1' in the backing chain of '%2'", NULL, 0 },
	{ "commit '*' '*': *: is in use: cannot get \"*\" lock",
	  "Failed to get \"%4\" lock",
	  "Is another process using the image [%3]?", 0 },
	{ "commit '*' '*': *", "%3", KEEP, 0 },
	{ "*: has no backing file to commit to",
	  "Image does not have a backing file", NULL, 0 },
	{ "rebase '*': new backing file: *: is in use: cannot get \"*\" lock",
	  "Could not open new backing file '%1': Failed to get \"%3\" lock",
	  "Is another process using the image [%2]?", 0 },
	{ "rebase '*': new backing file: *: is being written: cannot get shared \"*\" lock",
	  "Could not open new backing file '%1': Failed to get shared \"%3\" lock",
	  "Is another process using the image [%2]?", 0 },
	{ "rebase '*': new backing file: *: cannot be opened: *",
	  "Could not open new backing file '%1': Could not open '%2': %3",
	  NULL, 0 },
	{ "rebase '*': backing file * needs its format named",
	  "Could not change the backing file to '%1': backing format must be specified",
	  NULL, 0 },
	{ "rebase '*': *: format * has no backing files",
	  "Could not change the backing file to '%1': Operation not supported",
	  NULL, 0 },
	{ "rebase '*': *", "%2", KEEP, 0 },
	{ "unknown format \"*\" of the backing file",
	  "Invalid format name: '%1'", NULL, 0 },
	{ "*: a part of it that has a size of its own cannot grow",
	  "Cannot resize fixed-size raw disks", NULL, 0 },
	{ "*: format * has nothing to check",
	  "This image format does not support checks", NULL, 0 },
	{ "*: what is stored at * is compressed, encrypted or external, *",
	  "File contains external, encrypted or compressed clusters.", NULL,
	  0 },
	{ "*: would shrink from * to * bytes, *",
	  "Use the --shrink option to perform a shrink operation.",
	  "qemu-img: warning: Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an operation, make sure there is no important data there.",
	  0 },
	{ "unknown format \"*\"", "Unknown file format '%1'", NULL, 0 },
	/* Amending. */
	{ "*: option \"compat\" is *, not \"*\"",
	  "Unknown compatibility level %3", NULL, 0 },
	{ "*: option \"refcount_bits\" is a power of two *",
	  "Refcount width must be a power of two and may not exceed 64 bits",
	  NULL, 0 },
	{ "*: option \"lazy_refcounts\" needs compatibility level 1.1 (compat=v3)",
	  "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)",
	  NULL, 0 },
	{ "*: a refcount_bits other than 16 needs *",
	  "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)",
	  NULL, 0 },
	{ "*: compat=0.10 needs refcount_bits=16, *",
	  "compat=0.10 requires refcount_bits=16", NULL, 0 },
	{ "*: version 2 (compat=0.10) cannot have an external data file, *",
	  "Cannot downgrade an image with a data file", NULL, 0 },
	{ "*: version 2 (compat=0.10) cannot have extended L2 entries, *",
	  "Cannot downgrade an image with incompatible features 0x10 set",
	  NULL, 0 },
	{ "*: version 2 (compat=0.10) cannot have clusters that are compressed with zstd, *",
	  "Cannot downgrade an image with zstd compression type and existing compressed clusters",
	  NULL, 0 },
	{ "*: snapshot * prevents compat=0.10: *",
	  "Internal snapshots prevent downgrade of image", NULL, 0 },
	{ "*: the cluster at * is counted * times, which * bits cannot hold",
	  "Cannot decrease refcount entry width to %4 bits: Cluster at offset %2 has a refcount of %3",
	  NULL, 0 },
	{ "*: option \"*\" is for making an image, and cannot be changed",
	  "Invalid parameter '%2'",
	  "This option is only supported for image creation", 0 },
	{ "*: unknown option \"*\"", "Invalid parameter '%2'", NULL, 0 },
	{ "*: option \"size\" is a multiple of 512, not *",
	  "The new size must be a multiple of 512", NULL, 0 },
	{ "*: option \"data_file\" is for an image whose *",
	  "data-file can only be set for images that use an external data file",
	  NULL, 0 },
	{ "*: option \"data_file_raw\" cannot be turned on *",
	  "data-file-raw cannot be set on existing images", NULL, 0 },
	{ "*: another backing file is not given by option \"*\"",
	  "Cannot amend the backing file",
	  "You can use 'qemu-img rebase' instead.", 0 },
	{ "*: of an image of format * nothing can be changed",
	  "Format driver '%2' does not support option amendment", NULL, 0 },
	{ "of an image of format * nothing can be changed",
	  "Format driver '%1' does not support option amendment", NULL, 0 },
	/* Key slots. */
	{ "*: options \"encrypt....\" are for *, and this one is not encrypted",
	  "Can't amend encryption options - encryption not present", NULL, 0 },
	{ "*: options \"encrypt....\" are for *, and this one is with aes",
	  "Only LUKS encryption options can be amended", NULL, 0 },
	{ "*: option \"*state\" is missing *", "Parameter 'state' is missing",
	  NULL, 0 },
	{ "*: option \"*state\" is active or inactive, not \"*\"",
	  "Parameter 'state' does not accept value '%3'", NULL, 0 },
	{ "*: option \"*keyslot\" is 0 to 7, not *",
	  "Invalid keyslot %3 specified, must be between 0 and 7", NULL, 0 },
	{ "*: option \"*new-secret\" is missing: *",
	  "'new-secret' is required to activate a keyslot", NULL, 0 },
	{ "*: option \"*old-secret\" goes with state=inactive",
	  "'old-secret' must not be given when activating keyslots", NULL, 0 },
	{ "*: option \"*-secret\" goes with state=active",
	  "'new-secret' must not be given when erasing keyslots", NULL, 0 },
	{ "*: option \"*iter-time\" goes with state=active",
	  "'iter-time' must not be given when erasing keyslots", NULL, 0 },
	{ "*: option \"*state\" is inactive, and neither *",
	  "To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given",
	  NULL, 0 },
	{ "*: LUKS key slot * is in use: *",
	  "Refusing to overwrite active keyslot %2 - please erase it first",
	  NULL, 0 },
	{ "*: LUKS key slot * is not in use",
	  "Given keyslot %2 is already erased (inactive) ", NULL, 0 },
	{ "*: LUKS key slot * is the last one: *",
	  "Attempt to erase the only active keyslot %2 which will erase all the data in the image irreversibly - refusing operation",
	  NULL, 0 },
	{ "*: the secret \"*\" opens no key slot",
	  "No keyslots match given (old) password for erase operation", NULL,
	  0 },
	{ "*: the secret \"*\" does not open key slot *",
	  "Given keyslot %3 doesn't contain the given old password for erase operation",
	  NULL, 0 },
	{ "*: the secret \"*\" is the last one: *",
	  "All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation",
	  NULL, 0 },
	{ "what to change is needed (-o)", "Must specify options (-o)", NULL,
	  MISUSE },
	{ "-o needs name=value", "Invalid option list: ", NULL, 0 },
	{ "format \"*\" cannot be measured", "Unknown file format '%1'", NULL,
	  0 },
	/* The command line. */
	{ "unknown option '--*'", "unrecognized option '--%1'", NULL,
	  WITH_VERB | MISUSE },
	{ "unknown option '-*'", "invalid option -- '%1'", NULL,
	  WITH_VERB | MISUSE },
	{ "option '--*' needs an argument",
	  "option '--%1' requires an argument", NULL, WITH_VERB | MISUSE },
	{ "option '-*' needs an argument",
	  "option requires an argument -- '%1'", NULL, WITH_VERB | MISUSE },
	{ "option '--*' takes no argument",
	  "option '--%1' doesn't allow an argument", NULL, WITH_VERB | MISUSE },
	{ "unknown verb '*'", "Command not found: %1", NULL, MISUSE },
	{ "a verb is missing", "Not enough arguments", NULL, MISUSE },
	{ "the name of one image is needed", "Expecting one image file name",
	  NULL, MISUSE },
	{ "the names of two images are needed",
	  "Expecting two image file names", NULL, MISUSE },
	{ "the name of the image is missing", "Expecting image file name", NULL,
	  MISUSE },
	{ "the names of a source and of a target are needed",
	  "Must specify image file name", NULL, 0 },
	{ "an image and a size are needed",
	  "Expecting image file name and size", NULL, MISUSE },
	{ "unexpected argument '*'", "Unexpected argument: %1", NULL, MISUSE },
	{ "--output takes human or json, not '*'",
	  "--output expects 'human' or 'json', not '%1'", NULL, MISUSE },
	{ "-r takes leaks or all, not '*'",
	  "--repair (-r) expects 'leaks' or 'all', not '%1'", NULL, MISUSE },
	{ "-t takes *, not '*'", "Invalid cache option: %2", NULL, 0 },
	{ "-T takes *, not '*'", "Invalid source cache option: %2", NULL, 0 },
	{ "-S: '*' is not a size",
	  "Invalid buffer size for sparse output specified: '%1'", NULL, 0 },
	{ "-S takes multiples of 512 up to 16777216",
	  "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. Select 0 to disable sparse detection (fully allocates output).",
	  NULL, 0 },
	{ "-r: '*' is not a size", "Invalid rate limit specified: '%1'", NULL,
	  0 },
	{ "-C and -* exclude each other",
	  "Cannot enable copy offloading when -%1 is used", NULL, 0 },
	{ "-s: '*' is not a size", "Invalid start offset specified: '%1'", NULL,
	  0 },
	{ "-m takes *",
	  "Invalid number of coroutines specified. Must be between 1 and 16.",
	  NULL, 0 },
	{ "-l, -c, -a, -d and --export exclude each other",
	  "Cannot mix '-l', '-a', '-c', '-d'", NULL, MISUSE },
	{ "--target-image-opts needs -n",
	  "--target-image-opts requires use of -n flag", NULL, 0 },
	{ "--target-is-zero needs -n",
	  "--target-is-zero requires use of -n flag", NULL, 0 },
	{ "the new backing file is needed (-b)",
	  "Must specify backing file (-b) or use unsafe mode (-u)", NULL,
	  MISUSE },
	{ "dd '*': unknown format \"*\"", "Unknown file format", NULL, 0 },
	{ "dd '*': %1: is in use: cannot get \"*\" lock",
	  "%1: error while creating output image: Failed to get \"%2\" lock",
	  "Is another process using the image [%1]?", 0 },
	{ "dd '*': %1: is being written: cannot get shared \"*\" lock",
	  "%1: error while creating output image: Failed to get shared \"%2\" lock",
	  "Is another process using the image [%1]?", 0 },
	{ "dd '*': *", "%2", KEEP, 0 },
	{ "both if= and of= are needed",
	  "Must specify both input and output files", NULL, 0 },
	{ "unrecognized operand *", "unrecognized operand %1", NULL, 0 },
	{ "Failed request: *", "Failed request: Input/output error", NULL, 0 },
	{ "invalid *: must be from * to *",
	  "Invalid %1 specified. Must be between %2 and %3.", NULL, 0 },
	{ "invalid *: '*' is not a size", "Invalid %1 specified: '%2'", NULL,
	  0 },
	{ "-c: '*' is not a size", "Invalid request count specified: '%1'",
	  NULL, 0 },
	{ "-d: '*' is not a size", "Invalid queue depth specified: '%1'", NULL,
	  0 },
	{ "-o: '*' is not a size", "Invalid offset specified: '%1'", NULL, 0 },
	{ "the flush interval can't be smaller than the depth",
	  "Flush interval can't be smaller than depth", NULL, 0 },
	{ "--flush-interval needs -w",
	  "--flush-interval is only available in write tests", NULL, 0 },
	{ "-i takes *, not '*'", "Invalid aio option: %2", NULL, 0 },
	{ "either --size or the name of an image is needed",
	  "Either --size N or one filename must be specified.", NULL, 0 },
	/* What none of the above names. */
	{ "*: is in use: cannot get \"*\" lock", "Failed to get \"%2\" lock",
	  "Is another process using the image [%1]?", 0 },
};

/* A part of a text. */
struct part {
	const char *start;
	size_t length;
};

/* Does text fit the pattern? Fills the stars. */
static bool fits(const char *text, const char *pattern, struct part *stars,
		 size_t count)
{
	for (; *pattern; pattern++, text++) {
		if (*pattern == '*') {
			stars[count].start = text;
			do {
				stars[count].length =
					(size_t)(text - stars[count].start);
				if (fits(text, pattern + 1, stars, count + 1))
					return true;
			} while (*text++);
			return false;
		}
		if (pattern[0] == '%' && pattern[1] == '1') {
			if (strncmp(text, stars[0].start, stars[0].length) != 0)
				return false;
			return fits(text + stars[0].length, pattern + 2, stars,
				    count);
		}
		if (*text != *pattern)
			return false;
	}
	return !*text;
}

/* Put text into to, its %1, %2 ... replaced; cut where it does not fit. */
static void fill(char *to, size_t size, const char *text,
		 const struct part *stars)
{
	size_t used = 0;

	for (; *text && used + 1 < size; text++) {
		const struct part *star = NULL;
		size_t length = 1;

		if (text[0] == '%' && text[1] > '0' &&
		    text[1] <= '0' + MAX_STARS)
			star = &stars[*++text - '1'];
		if (star && star->length < size - used)
			length = star->length;
		else if (star)
			length = size - used - 1;
		memcpy(to + used, star ? star->start : text, length);
		used += length;
	}
	to[used] = '\0';
}

void personality_words(const struct gild_error *err, struct words *words)
{
	struct part stars[MAX_STARS];
	const struct row *row = rows;
	const struct row *end = rows + sizeof(rows) / sizeof(*rows);

	snprintf(words->message, sizeof(words->message), "%s", err->message);
	snprintf(words->hint, sizeof(words->hint), "%s", err->hint);
	while (row < end && !fits(err->message, row->ours, stars, 0))
		row++;
	if (row == end)
		return;
	words->with_verb = row->flags & WITH_VERB;
	words->misuse = row->flags & MISUSE;
	fill(words->message, sizeof(words->message), row->theirs, stars);
	if (!row->hint || *row->hint)
		fill(words->hint, sizeof(words->hint),
		     row->hint ? row->hint : "", stars);
}
