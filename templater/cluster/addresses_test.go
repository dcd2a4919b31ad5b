package cluster

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// TestAddresses checks that only ports of running allocations of the version are listed.
func TestAddresses(t *testing.T) {
	c, f := open(t, map[string][]string{
		"/v1/job/a%2Fb/allocations": {`[
			{"ID":"22222222-2","Name":"web[1]","DesiredStatus":"run","ClientStatus":"running","JobVersion":4},
			{"ID":"11111111-1","Name":"web[0]","DesiredStatus":"run","ClientStatus":"running","JobVersion":3},
			{"ID":"33333333-3","DesiredStatus":"run","ClientStatus":"running","JobVersion":2},
			{"ID":"44444444-4","DesiredStatus":"stop","ClientStatus":"running","JobVersion":3},
			{"ID":"55555555-5","DesiredStatus":"run","ClientStatus":"failed","JobVersion":3},
			{"ID":"66666666-6","Name":"web[2]","DesiredStatus":"run","ClientStatus":"running","JobVersion":3}]`},
		"/v1/allocation/11111111-1": {`{"AllocatedResources":{"Shared":{"Ports":[
			{"Label":"https","HostIP":"10.0.0.5","Value":24513,"To":8443},{"Label":"topz","HostIP":"fd00::5","Value":24514}]}}}`},
		"/v1/allocation/22222222-2": {`{"AllocatedResources":{"Shared":{"Ports":[{"Label":"https","HostIP":"10.0.0.6","Value":20001}]}}}`},
		"/v1/allocation/66666666-6": {`{}`},
	})
	lines, err := c.Addresses(t.Context(), &Job{ID: "a/b", Namespace: "n"}, 3)
	must.NoError(t, err)
	must.Eq(t, []string{
		`allocation 11111111: port "https" at 10.0.0.5:24513`,
		`allocation 11111111: port "topz" at [fd00::5]:24514`,
		`allocation 22222222: port "https" at 10.0.0.6:20001`,
	}, lines)
	must.StrContains(t, f.bodies["/v1/allocation/11111111-1"], "namespace=n")
}

// TestAddresses_Many checks that a job of many allocations is read in part.
func TestAddresses_Many(t *testing.T) {
	var allocs []string
	answers := map[string][]string{}
	for i := range maxAddressed + 5 {
		allocs = append(allocs, fmt.Sprintf(`{"ID":"a%02d","DesiredStatus":"run","ClientStatus":"running"}`, i))
		if i < maxAddressed {
			answers[fmt.Sprintf("/v1/allocation/a%02d", i)] = []string{`{"AllocatedResources":{"Shared":{"Ports":[{"Label":"http","HostIP":"10.0.0.5","Value":20000}]}}}`}
		}
	}
	answers["/v1/job/web/allocations"] = []string{"[" + strings.Join(allocs, ",") + "]"}
	c, _ := open(t, answers)
	lines, err := c.Addresses(t.Context(), &Job{ID: "web"}, 0)
	must.NoError(t, err)
	must.SliceLen(t, maxAddressed+1, lines)
	must.Eq(t, "ports of more allocations: see nomad alloc status", lines[maxAddressed])
}
