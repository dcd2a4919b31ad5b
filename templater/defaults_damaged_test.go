package templater_test

import (
	"encoding/json"
	"maps"
	"math/rand"
	"slices"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// damage replaces, drops and repeats parts of a decoded job.
func damage(r *rand.Rand, v any) any {
	if r.Intn(40) == 0 {
		junk := []any{nil, "", 1.0, true, []any{}, map[string]any{}, "x", []any{"a", 1.0}, map[string]any{"Name": "y"}}
		return junk[r.Intn(len(junk))]
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if v[key] = damage(r, v[key]); r.Intn(60) == 0 {
				delete(v, key)
			}
		}
	case []any:
		for i := range v {
			v[i] = damage(r, v[i])
		}
		if len(v) > 0 && r.Intn(20) == 0 {
			return append(v, v[r.Intn(len(v))])
		}
	case string:
		if len(v) > 2 && r.Intn(10) == 0 {
			b := []byte(v)
			b[r.Intn(len(b))] ^= 1
			return string(b)
		}
	}
	return v
}

// A job with defaults that was edited anywhere, marks included, is refused or gets the current
// defaults, and a second injection changes nothing.
func TestDefaults_DamagedJobs(t *testing.T) {
	c := loadCatalog(t)
	policies := []templater.Policy{defaultsPolicy(t, defaultNames, 3), defaultsPolicy(t, defaultNames[3:9], 4), defaultsPolicy(t, nil, 0)}
	base, accepted := withDefaults(t, parseJSON(t, []byte(podJob), c), c, templater.Flags{}, policies[0]), 0
	for seed := range 2_000 {
		var v any
		must.NoError(t, json.Unmarshal(base, &v))
		raw, err := json.Marshal(damage(rand.New(rand.NewSource(int64(seed))), v))
		must.NoError(t, err)
		f, diags := jsonjob.Parse(raw, "job.json", c)
		if diags.HasErrors() {
			continue
		}
		flags := templater.Flags{Policy: policies[seed%len(policies)]}
		in, diags := templater.Inject(f, c, flags)
		if diags.HasErrors() {
			continue
		}
		accepted++
		must.Eq(t, string(in.Output), string(withDefaults(t, parseJSON(t, in.Output, c), c, flags, flags.Policy)), must.Sprintf("seed %d: %s", seed, raw))
		_, diags = parseJSON(t, in.Output, c).Original()
		must.False(t, diags.HasErrors())
	}
	must.Greater(t, 500, accepted)
}
