package testtimeout_test

import (
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

func TestFor(t *testing.T) {
	for factor, want := range map[string]time.Duration{
		"": time.Second, "1": time.Second, "6": 6 * time.Second, "1.5": 1500 * time.Millisecond,
		"0": time.Second, "-3": time.Second, "NaN": time.Second, "many": time.Second,
	} {
		t.Setenv(testtimeout.Env, factor)
		got := testtimeout.Scale(time.Second)
		must.GreaterEq(t, want, got, must.Sprint(factor))
		must.LessEq(t, 8*time.Second, got, must.Sprint("on a busy machine"))
	}
}
