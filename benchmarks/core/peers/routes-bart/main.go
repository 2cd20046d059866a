// bart behind the commands of routes-rust.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gaissmai/bart"
)

const noValue = 0xffffffff

type route struct {
	prefix netip.Prefix
	value  uint32
}

var (
	family string
	routes []route
	table  *bart.Table[uint32]
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		words := strings.Fields(in.Text())
		answer, err := json.Marshal(run(words))
		check(err)
		fmt.Println(string(answer))
	}
}

func run(words []string) any {
	switch words[0] {
	case "load":
		family = words[1]
		return load(words[2])
	case "bulk", "calls":
		return lookUp(addresses(words[1]))
	case "updates":
		return updates(numbers(words[1]))
	}
	panic("no command: " + strings.Join(words, " "))
}

func load(folder string) any {
	file := func(name string) string { return folder + "/v" + family + "." + name }
	table, routes = nil, nil
	values := numbers(file("values"))
	lengths := read(file("lengths"))
	for i, address := range addresses(file("addresses")) {
		routes = append(routes, route{netip.PrefixFrom(address, int(lengths[i])), values[i]})
	}
	before := allocated()
	start := time.Now()
	table = new(bart.Table[uint32])
	for _, one := range routes {
		table.Insert(one.prefix, one.value)
	}
	seconds := time.Since(start).Seconds()
	return map[string]any{"seconds": seconds, "lookup": 0, "total": allocated() - before}
}

func lookUp(addresses []netip.Addr) any {
	var sum uint64
	start := time.Now()
	for _, address := range addresses {
		value, ok := table.Lookup(address)
		if !ok {
			value = noValue
		}
		sum += uint64(value)
	}
	return map[string]any{"seconds": time.Since(start).Seconds(), "sum": sum}
}

func updates(which []uint32) any {
	removes, inserts := make([]int64, 0, len(which)), make([]int64, 0, len(which))
	for _, number := range which {
		one := routes[number]
		start := time.Now()
		table.Delete(one.prefix)
		removes = append(removes, time.Since(start).Nanoseconds())
		start = time.Now()
		table.Insert(one.prefix, one.value)
		inserts = append(inserts, time.Since(start).Nanoseconds())
	}
	return map[string]any{"remove": percentiles(removes), "insert": percentiles(inserts)}
}

func percentiles(nanoseconds []int64) map[string]int64 {
	slices.Sort(nanoseconds)
	at := func(part int) int64 { return nanoseconds[min(len(nanoseconds)*part/1000, len(nanoseconds)-1)] }
	return map[string]int64{"p50": at(500), "p99": at(990), "p999": at(999)}
}

func addresses(file string) []netip.Addr {
	var found []netip.Addr
	if family == "4" {
		for _, number := range numbers(file) {
			var bytes [4]byte
			binary.BigEndian.PutUint32(bytes[:], number)
			found = append(found, netip.AddrFrom4(bytes))
		}
		return found
	}
	for bytes := range slices.Chunk(read(file), 16) {
		found = append(found, netip.AddrFrom16([16]byte(bytes)))
	}
	return found
}

func numbers(file string) []uint32 {
	var found []uint32
	for bytes := range slices.Chunk(read(file), 4) {
		found = append(found, binary.LittleEndian.Uint32(bytes))
	}
	return found
}

func read(file string) []byte {
	bytes, err := os.ReadFile(file)
	check(err)
	return bytes
}

func allocated() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
