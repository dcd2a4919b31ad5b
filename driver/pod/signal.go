package pod

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ParseSignal reads "SIGTERM", "TERM" or "15". Empty is 0.
func ParseSignal(s string) (unix.Signal, error) {
	if s == "" {
		return 0, nil
	}
	const signals = 64
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n <= signals {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("%w: unknown signal %q: want a name such as SIGTERM, or a number", ErrInvalid, s)
}
