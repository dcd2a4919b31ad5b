package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	checkTimeout = 30 * time.Second

	// checkBytes bounds how much of the check's output an error shows.
	checkBytes = 1000
)

// accept runs the check command on a candidate and returns an error unless it exits
// with 0.
func (r *reloader) accept(ctx context.Context, candidate string) error {
	if len(r.check) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	argv := make([]string, len(r.check))
	for i, word := range r.check {
		argv[i] = strings.ReplaceAll(word, "{}", candidate)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second // a child may hold the output open
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		out = bytes.TrimSpace(out)
		return fmt.Errorf("the check refuses the configuration: %s: %w: %s", strings.Join(argv, " "), err, out[:min(len(out), checkBytes)])
	}
	return nil
}
