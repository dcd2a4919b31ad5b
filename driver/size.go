package driver

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/docker/go-units"
)

// parseSize parses a number of bytes as docker does: "64m" and "64MiB" are
// 64 × 1024 × 1024. The result is above 0.
func parseSize(s string) (int64, error) {
	n, err := units.RAMInBytes(s)
	if err != nil || n <= 0 {
		return 0, errors.New("want a number of bytes, or one with a unit such as \"64m\" or \"1g\"")
	}
	return n, nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
