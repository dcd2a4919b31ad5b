package cli

import (
	"errors"
	"flag"
	"fmt"
	"time"
)

// defaultPrefetch is how long images may be pulled before a registration.
const defaultPrefetch = 10 * time.Minute

// prefetchOptions are the flags for pulling images before a job is registered.
type prefetchOptions struct {
	on      bool
	timeout time.Duration
}

func (o *prefetchOptions) declare(fs *flag.FlagSet) {
	*o = prefetchOptions{}
	fs.BoolVar(&o.on, "prefetch", false, "Pull new images before registering the job, on the nodes where it runs now, by a sysbatch job that is purged afterwards. If an image cannot be pulled, nothing is registered.")
	fs.DurationVar(&o.timeout, "prefetch-timeout", defaultPrefetch, "`DURATION` Time for -prefetch. Default is 10m.")
}

func (o *prefetchOptions) check(fs *flag.FlagSet) error {
	given := false
	fs.Visit(func(f *flag.Flag) { given = given || f.Name == "prefetch-timeout" })
	switch {
	case given && !o.on:
		return errors.New("-prefetch-timeout requires -prefetch")
	case o.timeout <= 0:
		return fmt.Errorf("-prefetch-timeout must be above 0, not %s", o.timeout)
	}
	return nil
}
