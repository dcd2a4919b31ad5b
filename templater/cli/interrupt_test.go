package cli

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// interruptedEnv makes TestUntilInterrupted the program that is interrupted.
const interruptedEnv = "CLI_TEST_INTERRUPTED"

// TestUntilInterrupted checks that the first signal ends the context, and a later one the program,
// which never ends by itself.
func TestUntilInterrupted(t *testing.T) {
	if os.Getenv(interruptedEnv) != "" {
		ctx, stop := untilInterrupted(syscall.SIGTERM)
		defer stop()
		must.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
		<-ctx.Done()
		fmt.Println("ended")
		for range time.Tick(time.Millisecond) {
			must.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUntilInterrupted$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), interruptedEnv+"=1")
	out, _ := cmd.Output() // the signal is checked below
	must.Eq(t, "ended\n", string(out))
	must.Eq(t, syscall.SIGTERM, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
}
