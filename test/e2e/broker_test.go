package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

const (
	brokerAPI   = "http://127.0.0.1:9001/"
	brokerReady = "http://127.0.0.1:9104/readyz"
)

// brokered is a pod with a broker, and two instances of the service api.
type brokered struct {
	*cluster
	alloc  *api.Allocation
	client *http.Client
	host   string
	a, b   *backend
}

// TestBroker runs haproxy before instances that come, misbehave and go.
//
// Traps C1, C2 and C3: POST requests, a reload without a program, and hostile addresses.
func TestBroker(t *testing.T) {
	debian(t, "/usr/sbin/haproxy")
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		s := &brokered{cluster: c}
		s.alloc = c.runAll(inject(c.t, "testdata/broker.nomad.hcl"))
		s.host, s.client = c.gateway(s.alloc), c.inPod(s.alloc, "app")
		status, body, _ := c.send(s.client, http.MethodGet, brokerAPI)
		must.Eq(c.t, http.StatusServiceUnavailable, status, must.Sprint("without instances: ", body))
		status, _, _ = c.send(s.client, http.MethodGet, brokerReady)
		must.Eq(c.t, http.StatusServiceUnavailable, status)

		s.a, s.b = c.backend("a", s.host), c.backend("b", s.host)
		s.register(s.a, s.b)
		c.eventually("both instances answer", func() error {
			seen := map[string]bool{}
			for range 4 {
				_, body, _ := c.send(s.client, http.MethodGet, brokerAPI)
				seen[body] = true
			}
			if !seen["a"] || !seen["b"] || len(seen) != 2 {
				return fmt.Errorf("answers are %v", seen)
			}
			return nil
		})
		for _, step := range []struct {
			name string
			test func(*brokered)
		}{
			{"repeats what may be repeated", testBrokerRetries},
			{"leaves unhealthy instances out", testBrokerHealth},
			{"ignores hostile addresses", testBrokerHostile},
			{"loses no request while instances change", testBrokerReload},
			{"survives its program", testBrokerKilled},
		} {
			c.t.Run(step.name, func(t *testing.T) {
				sub := *s
				sub.cluster = &cluster{c.Agent, t, c.ctx}
				step.test(&sub)
			})
		}
		_, _, err := c.Client().Jobs().Deregister("shop", false, nil)
		must.NoError(c.t, err)
		ended := c.waitAlloc(s.alloc.ID, api.AllocClientStatusComplete)
		must.False(c.t, ended.TaskStates["broker"].Failed)
		took := ended.TaskStates["broker"].FinishedAt.Sub(ended.TaskStates["app"].FinishedAt)
		must.Less(c.t, 5*time.Second, took, must.Sprint("time to stop"))
	})
}

// debian skips a test if a program of a Debian package is missing.
func debian(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := syscall.Access(path, 1); err != nil {
			t.Skipf("needs %s: run scripts/deps.sh with its package", path)
		}
	}
}

// register makes backends the instances of both services.
func (s *brokered) register(backends ...*backend) {
	s.t.Helper()
	list := []string{fmt.Sprintf("other %s", s.a.at)}
	for _, b := range backends {
		list = append(list, fmt.Sprintf("api %s", b.at))
	}
	s.services(list...)
}

// count sends requests and returns how many had each status.
func (s *brokered) count(method string, n int) map[int]int {
	s.t.Helper()
	statuses := map[int]int{}
	for range n {
		status, _, _ := s.send(s.client, method, brokerAPI)
		statuses[status]++
	}
	return statuses
}

// testBrokerRetries checks that an instance's failures are hidden from GET, and that no POST reaches
// an instance twice.
func testBrokerRetries(s *brokered) {
	for _, behaviour := range []int32{answers503, hangsUp} {
		s.a.behaviour.Store(behaviour)
		must.Eq(s.t, map[int]int{200: 10}, s.count(http.MethodGet, 10))
		before := s.a.received[http.MethodPost].Load() + s.b.received[http.MethodPost].Load()
		statuses := s.count(http.MethodPost, 10)
		after := s.a.received[http.MethodPost].Load() + s.b.received[http.MethodPost].Load()
		must.Eq(s.t, 10, after-before, must.Sprint("POST requests received"))
		must.Positive(s.t, statuses[502]+statuses[503], must.Sprint(statuses))
	}
	s.a.behaviour.Store(answersOK)
}

func testBrokerHealth(s *brokered) {
	s.a.unhealthy.Store(true)
	s.eventually("an unhealthy instance gets no requests", func() error {
		before := s.a.received[http.MethodGet].Load()
		must.Eq(s.t, map[int]int{200: 4}, s.count(http.MethodGet, 4))
		if n := s.a.received[http.MethodGet].Load() - before; n > 0 {
			return fmt.Errorf("it got %d", n)
		}
		return nil
	})
	s.a.unhealthy.Store(false)

	gone := s.backend("gone", s.host)
	s.register(gone)
	s.awaitAnswer("gone")
	s.register(gone, s.b)
	s.awaitAnswer("b")
	must.NoError(s.t, gone.Close())
	must.Eq(s.t, map[int]int{200: 10}, s.count(http.MethodPost, 10), must.Sprint("refused connections"))
}

// awaitAnswer waits until an instance answers a request.
func (s *brokered) awaitAnswer(name string) {
	s.t.Helper()
	s.eventually(name+" answers", func() error {
		if _, body, _ := s.send(s.client, http.MethodGet, brokerAPI); body != name {
			return fmt.Errorf("answer is %q", body)
		}
		return nil
	})
}

// testBrokerHostile registers instances whose addresses are configuration.
func testBrokerHostile(s *brokered) {
	s.register(s.b)
	s.start(testdata(s.t, "hostile-service.nomad.hcl",
		"EVIL", `10.0.0.1:1\n  server evil 10.0.0.1:1\n#`, "HOST", s.host, "PORT", fmt.Sprint(s.b.at.Port())))
	s.eventually("Nomad lists the hostile instances", func() error {
		list, _, err := s.Client().Services().Get("api", nil)
		if err == nil && len(list) < 4 {
			err = fmt.Errorf("%d instances", len(list))
		}
		return err
	})
	s.register(s.b, s.a) // the broker has read the list when it has the new instance
	s.awaitAnswer("a")
	text := s.exec(s.alloc, "broker", "cat", "/local/haproxy.cfg")
	must.StrNotContains(s.t, text, "evil")
	must.Eq(s.t, 1, strings.Count(text, fmt.Sprintf("server %s ", s.b.at)), must.Sprint(text))
	must.Eq(s.t, map[int]int{200: 10}, s.count(http.MethodGet, 10))
	_, _, err := s.Client().Jobs().Deregister("hostile", true, nil)
	must.NoError(s.t, err)
}

// testBrokerReload changes the instances while requests are sent.
func testBrokerReload(s *brokered) {
	stop := make(chan struct{})
	var sending sync.WaitGroup
	statuses := map[int]int{}
	sending.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				status, _, _ := s.send(s.client, http.MethodGet, brokerAPI)
				statuses[status]++
			}
		}
	})
	for _, instances := range [][]*backend{{s.a}, {s.b}} {
		s.register(instances...)
		s.eventually("only the remaining instance answers", func() error {
			for range 5 {
				if _, body, _ := s.send(s.client, http.MethodGet, brokerAPI); body != instances[0].name {
					return fmt.Errorf("answer is %q", body)
				}
			}
			return nil
		})
	}
	close(stop)
	sending.Wait()
	must.MapLen(s.t, 1, statuses, must.Sprint(statuses))
	must.Zero(s.t, s.restarts(s.alloc, "broker"))
}

// testBrokerKilled kills haproxy, and changes the instances while it does not run.
func testBrokerKilled(s *brokered) {
	app := s.identities(s.alloc, "app")
	must.NoError(s.t, syscall.Kill(s.first(s.alloc, "broker").PID, syscall.SIGKILL))
	s.register(s.a)
	s.eventually("the broker was restarted, and has the new instance", func() error {
		if n := s.restarts(s.alloc, "broker"); n == 0 {
			return fmt.Errorf("%d restarts", n)
		}
		if _, body, _ := s.send(s.client, http.MethodGet, brokerAPI); body != "a" {
			return fmt.Errorf("answer is %q", body)
		}
		return nil
	})
	must.Eq(s.t, app, s.identities(s.alloc, "app"))
	s.waitAlloc(s.alloc.ID, api.AllocClientStatusRunning)
}
