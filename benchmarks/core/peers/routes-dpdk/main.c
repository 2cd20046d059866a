/* DPDK's tables behind the commands of routes-rust: `routes-dpdk fib` or `routes-dpdk lpm`. */

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_lpm.h>
#include <rte_malloc.h>
#include <rte_memory.h>

#define BURST 256
#define NO_ROUTE 0x7fffu
#define NO_VALUE 0xffffffffull

static struct rte_fib *fib;
static struct rte_fib6 *fib6;
static struct rte_lpm *lpm;
static int use_lpm, family;
static void *addresses;
static uint8_t *lengths;
static uint32_t *values;
static size_t count;

/* Debian's DPDK takes it from libbsd. */
size_t strlcpy(char *target, const char *source, size_t size)
{
	size_t length = strlen(source);
	if (size) {
		size_t copied = length < size ? length : size - 1;
		memcpy(target, source, copied);
		target[copied] = 0;
	}
	return length;
}

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, rte_strerror(rte_errno));
	exit(1);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void *read_file(const char *path, size_t *bytes)
{
	FILE *file = fopen(path, "rb");
	if (!file)
		fail(path);
	fseek(file, 0, SEEK_END);
	*bytes = ftell(file);
	rewind(file);
	void *data = aligned_alloc(64, (*bytes + 127) / 64 * 64);
	if (!data || fread(data, 1, *bytes, file) != *bytes)
		fail(path);
	fclose(file);
	return data;
}

static int insert(size_t at)
{
	if (family == 6)
		return rte_fib6_add(fib6, (uint8_t *)addresses + 16 * at, lengths[at], values[at]);
	uint32_t address = ((uint32_t *)addresses)[at];
	return use_lpm ? rte_lpm_add(lpm, address, lengths[at], values[at])
		       : rte_fib_add(fib, address, lengths[at], values[at]);
}

static int erase(size_t at)
{
	if (family == 6)
		return rte_fib6_delete(fib6, (uint8_t *)addresses + 16 * at, lengths[at]);
	uint32_t address = ((uint32_t *)addresses)[at];
	return use_lpm ? rte_lpm_delete(lpm, address, lengths[at]) : rte_fib_delete(fib, address, lengths[at]);
}

/* Parts of tables of 256 slots: each longer prefix needs at most one for each 8 bits. */
static uint32_t parts(void)
{
	return family == 6 ? 1 << 19 : (1 << 15) - 1;
}

static void create(void)
{
	if (family == 6) {
		struct rte_fib6_conf conf = { .type = RTE_FIB6_TRIE, .default_nh = NO_ROUTE, .max_routes = 2 * count };
		conf.trie.nh_sz = RTE_FIB6_TRIE_4B;
		conf.trie.num_tbl8 = parts();
		fib6 = rte_fib6_create("routes", 0, &conf);
	} else if (use_lpm) {
		struct rte_lpm_config conf = { .max_rules = 2 * count, .number_tbl8s = parts() };
		lpm = rte_lpm_create("routes", 0, &conf);
	} else {
		struct rte_fib_conf conf = { .type = RTE_FIB_DIR24_8, .default_nh = NO_ROUTE, .max_routes = 2 * count };
		conf.dir24_8.nh_sz = RTE_FIB_DIR24_8_2B;
		conf.dir24_8.num_tbl8 = parts();
		fib = rte_fib_create("routes", 0, &conf);
	}
	if (!fib && !fib6 && !lpm)
		fail("create");
}

static size_t allocated(void)
{
	struct rte_malloc_socket_stats stats;
	rte_malloc_get_socket_stats(0, &stats);
	return stats.heap_allocsz_bytes;
}

static void load(const char *folder)
{
	char path[4096];
	size_t bytes;
	snprintf(path, sizeof path, "%s/v%d.addresses", folder, family);
	addresses = read_file(path, &bytes);
	snprintf(path, sizeof path, "%s/v%d.values", folder, family);
	values = read_file(path, &bytes);
	snprintf(path, sizeof path, "%s/v%d.lengths", folder, family);
	lengths = read_file(path, &count);
	size_t before = allocated();
	double start = now();
	create();
	for (size_t at = 0; at < count; at++)
		if (insert(at) < 0)
			fail("insert");
	printf("{\"seconds\": %.9f, \"lookup\": 0, \"total\": %zu}\n", now() - start, allocated() - before);
}

static uint64_t burst(void *queries, size_t first, unsigned number)
{
	uint64_t sum = 0;
	uint64_t hops[BURST];
	uint32_t words[BURST];
	if (use_lpm) {
		rte_lpm_lookup_bulk(lpm, (uint32_t *)queries + first, words, number);
		for (unsigned at = 0; at < number; at++)
			sum += words[at] & RTE_LPM_LOOKUP_SUCCESS ? words[at] & 0xffffff : NO_VALUE;
		return sum;
	}
	if (family == 6)
		rte_fib6_lookup_bulk(fib6, (uint8_t(*)[16])queries + first, hops, number);
	else
		rte_fib_lookup_bulk(fib, (uint32_t *)queries + first, hops, number);
	for (unsigned at = 0; at < number; at++)
		sum += hops[at] == NO_ROUTE ? NO_VALUE : hops[at];
	return sum;
}

static void look_up(const char *path, unsigned size)
{
	size_t bytes;
	void *queries = read_file(path, &bytes);
	size_t number = bytes / (family == 6 ? 16 : 4);
	uint64_t sum = 0;
	double start = now();
	for (size_t first = 0; first < number; first += size)
		sum += burst(queries, first, number - first < size ? number - first : size);
	printf("{\"seconds\": %.9f, \"sum\": %lu}\n", now() - start, sum);
	free(queries);
}

static int by_size(const void *a, const void *b)
{
	double one = *(const double *)a, other = *(const double *)b;
	return (one > other) - (one < other);
}

static void percentiles(const char *name, double *times, size_t number)
{
	qsort(times, number, sizeof *times, by_size);
	printf("\"%s\": {\"p50\": %.0f, \"p99\": %.0f, \"p999\": %.0f}", name, times[number / 2] * 1e9,
	       times[number * 99 / 100] * 1e9, times[number * 999 / 1000] * 1e9);
}

static void updates(const char *path)
{
	size_t bytes;
	uint32_t *which = read_file(path, &bytes);
	size_t number = bytes / 4;
	double *removes = calloc(number, sizeof *removes), *inserts = calloc(number, sizeof *inserts);
	for (size_t at = 0; at < number; at++) {
		double start = now();
		if (erase(which[at]) < 0)
			fail("delete");
		double middle = now();
		if (insert(which[at]) < 0)
			fail("insert");
		inserts[at] = now() - middle;
		removes[at] = middle - start;
	}
	printf("{");
	percentiles("remove", removes, number);
	printf(", ");
	percentiles("insert", inserts, number);
	printf("}\n");
}

/* Huge pages for what DPDK took without them: others ask for them, too. */
static int advise(const struct rte_memseg_list *list, void *unused)
{
	(void)unused;
	madvise(list->base_va, list->len, MADV_HUGEPAGE);
	return 0;
}

int main(int argc, char **argv)
{
	char *eal[] = { argv[0], "--no-huge", "-m", "3072", "--no-pci", "--no-telemetry",
			"--no-shconf", "-l", "0", "--log-level=3", "--force-max-simd-bitwidth=512", NULL };
	if (argc < 2 || rte_eal_init(11, eal) < 0)
		fail("EAL");
	rte_memseg_list_walk(advise, NULL);
	use_lpm = !strcmp(argv[1], "lpm");
	char line[4096], path[4096];
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "load %d %4000s", &family, path) == 2)
			load(path);
		else if (sscanf(line, "bulk %4000s", path) == 1)
			look_up(path, BURST);
		else if (sscanf(line, "calls %4000s", path) == 1)
			look_up(path, 1);
		else if (sscanf(line, "updates %4000s", path) == 1)
			updates(path);
		else
			fail(line);
		fflush(stdout);
	}
	return 0;
}
