package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

const (
	shardedKeys = 60

	// shardPassword has characters that YAML and redis.conf treat specially.
	shardPassword = `p"w: #'{}\`
)

// sharded is a pod with a shard-proxy in front of two redis.
type sharded struct {
	*cluster
	alloc, a, b *api.Allocation
}

// TestShardProxy checks that each key belongs to one shard, also after that moved, and that a dead
// shard leaves the others alone.
func TestShardProxy(t *testing.T) {
	debian(t, "/usr/sbin/nutcracker", "/usr/bin/redis-server")
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		_, _, err := c.Client().Variables().Update(&api.Variable{
			Path: "nomad/jobs/shards", Items: api.VariableItems{"password": shardPassword},
		}, nil)
		must.NoError(c.t, err)
		s := &sharded{cluster: c}
		s.alloc = c.runAll(inject(c.t, "testdata/shards.nomad.hcl"))
		must.StrHasPrefix(c.t, "-ERR", s.redis("SET", "key", "1"), must.Sprint("no shard has an instance"))

		s.a, s.b = s.runRedis("redis-a"), s.runRedis("redis-b")
		s.setAll()
		first := s.sizes()
		must.Eq(c.t, shardedKeys, first["a"]+first["b"])
		must.Between(c.t, shardedKeys/5, first["a"], shardedKeys*4/5)

		app := c.identities(s.alloc, "app")
		c.stop("redis-b", s.b)
		c.eventually("only the keys of one shard fail", func() error {
			ok, failed := s.getAll()
			if ok != first["a"] || failed != first["b"] {
				return fmt.Errorf("%d keys are there, %d fail, of %v", ok, failed, first)
			}
			return nil
		})
		s.b = s.runRedis("redis-b")
		s.setAll()
		must.Eq(c.t, first, s.sizes(), must.Sprint("each key has its shard"))

		must.NoError(c.t, syscall.Kill(c.first(s.alloc, "shard-proxy").PID, syscall.SIGKILL))
		s.setAll()
		must.Eq(c.t, first, s.sizes())
		must.Eq(c.t, app, c.identities(s.alloc, "app"))
		c.stop("shards", s.alloc)
	})
}

func (s *sharded) runRedis(name string) *api.Allocation {
	s.t.Helper()
	return s.runAll(testdata(s.t, "redis.nomad.hcl", "NAME", name))
}

// redis logs in, sends one command through the proxy and returns the first line of the reply, or of
// a value.
func (s *sharded) redis(command ...string) string {
	conn, err := s.dialIn(s.alloc, "app")(s.ctx, "tcp", "127.0.0.1:9020")
	if err != nil {
		return "-" + err.Error()
	}
	return oneReply(conn, command)
}

func oneReply(conn net.Conn, command []string) string {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testtimeout.Scale(5 * time.Second)))
	if _, err := io.WriteString(conn, encode("AUTH", shardPassword)+encode(command...)); err != nil {
		return "-" + err.Error()
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err == nil && line == "+OK\r\n" {
		line, err = r.ReadString('\n')
	}
	if err != nil {
		return "-" + err.Error()
	}
	if strings.HasPrefix(line, "$") && line[1] != '-' {
		line, _ = r.ReadString('\n')
	}
	return strings.TrimSpace(line)
}

// encode returns a command in redis' protocol.
func encode(command ...string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&text, "$%d\r\n%s\r\n", len(word), word)
	}
	return text.String()
}

// setAll sets all keys, and waits until that succeeds.
func (s *sharded) setAll() {
	s.t.Helper()
	s.eventually("all keys are set", func() error {
		for i := range shardedKeys {
			if reply := s.redis("SET", fmt.Sprint("key", i), fmt.Sprint(i)); reply != "+OK" {
				return fmt.Errorf("key %d: %s", i, reply)
			}
		}
		return nil
	})
}

func (s *sharded) getAll() (ok, failed int) {
	s.t.Helper()
	for i := range shardedKeys {
		if s.redis("GET", fmt.Sprint("key", i)) == fmt.Sprint(i) {
			ok++
		} else {
			failed++
		}
	}
	return ok, failed
}

// sizes returns the number of keys of each server.
func (s *sharded) sizes() map[string]int {
	s.t.Helper()
	sizes := map[string]int{}
	for name, alloc := range map[string]*api.Allocation{"a": s.a, "b": s.b} {
		out := s.exec(alloc, "redis", "/bin/sh", "-c",
			`REDISCLI_AUTH=$(sed -n 's/^requirepass //p' /secrets/redis.conf | jq -r .) redis-cli DBSIZE`)
		var n int
		_, err := fmt.Sscanf(strings.TrimPrefix(out, "(integer) "), "%d", &n)
		must.NoError(s.t, err, must.Sprint(out))
		sizes[name] = n
	}
	return sizes
}
