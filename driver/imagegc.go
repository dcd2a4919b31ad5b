package driver

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// defaultGap is how far gc_low is below gc_high if it is not set, in percent.
const defaultGap = 10

// limits returns gc_high and gc_low in percent, 0 for no limit. It also checks keep.
func (c ImageConfig) limits() (high, low int, err error) {
	var errs []error
	percent := func(key, value string) (n int) {
		const maxPercent = 99 // no file system is fuller than 100 %
		digits, ok := strings.CutSuffix(value, "%")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n < 0 || n > maxPercent || strconv.Itoa(n) != digits {
			errs = append(errs, fmt.Errorf("image.%s = %q: want a part of the file system of data_dir from \"0%%\" to \"%d%%\", such as \"85%%\"", key, value, maxPercent))
		}
		return n
	}
	switch {
	case c.GCHigh == "" && c.GCLow != "":
		errs = append(errs, fmt.Errorf("image.gc_low = %q has no effect without gc_high: set gc_high too, or leave gc_low out", c.GCLow))
	case c.GCHigh != "":
		if high = percent("gc_high", c.GCHigh); high == 0 && errs == nil {
			errs = append(errs, fmt.Errorf("image.gc_high = %q: want at least \"1%%\"; for images that are removed when they are unused set gc and gc_delay", c.GCHigh))
		}
		low = max(high-defaultGap, 0)
	}
	if c.GCHigh != "" && c.GCLow != "" {
		if low = percent("gc_low", c.GCLow); errs == nil && low > high {
			errs = append(errs, fmt.Errorf("image.gc_low = %q is above image.gc_high = %q: want at most gc_high", c.GCLow, c.GCHigh))
		}
	}
	for _, pattern := range c.Keep {
		if err := image.CheckKeep(pattern); err != nil {
			errs = append(errs, fmt.Errorf("image.keep: %w", err))
		}
	}
	return high, low, errors.Join(errs...)
}

// checkStores returns the reason why an additional store cannot be used.
func (c ImageConfig) checkStores() error {
	for _, dir := range c.AdditionalStores {
		if _, err := trustedPath(dir); err != nil {
			return fmt.Errorf("image.additional_stores: %w", err)
		}
		if err := image.CheckStore(dir); err != nil {
			return fmt.Errorf("image.additional_stores: %w", err)
		}
	}
	return nil
}
