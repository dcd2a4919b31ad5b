package driver

import (
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

func TestIndexMeta(t *testing.T) {
	env := map[string]string{
		"NOMAD_META_team": "blue\xff", "NOMAD_META_cost_center": "42", "NOMAD_META_other": "x",
		"NOMAD_META_long": strings.Repeat("é", maxIndexMetaBytes), "team": "env",
	}
	got := indexMeta([]string{"team", "cost-center", "absent", "long"}, env)
	must.MapLen(t, 3, got)
	must.Eq(t, "blue\uFFFD", got["team"])
	must.Eq(t, "42", got["cost-center"])
	must.LessEq(t, maxIndexMetaBytes, len(got["long"]))
	must.MapEmpty(t, indexMeta(nil, env))
}
