package analyze

import (
	_ "embed"
	"strings"
)

// podKeyTable has the keys of the tables in driver/README.md, which the driver generates from its
// schema: a key and its kind, or a key of another driver with the values that can be ignored, "–" for
// none, and the replacement. The driver and the templater share no code; test/architecture compares
// the two files.
//
//go:embed podkeys.txt
var podKeyTable string

// podKey is a key of the pod driver's task config. A dot precedes the keys of a block.
type podKey struct{ name, kind string }

// refusedKey is a key of another driver that the pod driver refuses, except for harmless values.
type refusedKey struct{ name, accepted, instead string }

// podKeys returns the keys that the driver has, and the keys of Nomad's docker and podman drivers that
// have no effect in a pod task.
func podKeys() (own []podKey, refused []refusedKey) {
	for line := range strings.Lines(podKeyTable) {
		switch cells := strings.Split(strings.TrimSpace(line), "\t"); len(cells) {
		case 2:
			own = append(own, podKey{cells[0], cells[1]})
		case 3:
			refused = append(refused, refusedKey{cells[0], cells[1], cells[2]})
		}
	}
	return own, refused
}
