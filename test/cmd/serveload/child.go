package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
)

const (
	// roleEnv makes this program run one of the proxies.
	roleEnv     = "SERVELOAD_ROLE"
	freeAddress = "127.0.0.1:0"
)

// asProxy runs one of the proxies if roleEnv is set.
func asProxy() (code int, ok bool) {
	switch os.Getenv(roleEnv) {
	case "serve":
		p := &cli.Program{Version: "0", Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
		return p.Run(), true
	case "bare":
		if err := bareProxy(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "bare proxy:", err)
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// bareProxy is Go's reverse proxy with the same transport as serve.
func bareProxy(address, upstream string) error {
	to, err := url.Parse(upstream)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Printf("{\"address\":%q}\n", l.Addr())
	return http.Serve(l, &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: 10 * time.Second},
		FlushInterval: -1,
	})
}

// child is a process started by the benchmark.
type child struct {
	name    string
	cmd     *exec.Cmd
	address string
}

// run starts a program; its output is written to a file named after it.
func (f *field) run(dir, name, program string, args ...string) (*child, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	c := &child{name: name, cmd: exec.Command(program, args...)}
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.Env = append(os.Environ(), "NOMAD_ADDR=", "NOMAD_TOKEN=", "NOMAD_REGION=", "NOMAD_SIDECAR_CATALOG=")
	if program == "/proc/self/exe" {
		c.cmd.Env = append(c.cmd.Env, roleEnv+"="+args[0])
	}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	f.children = append(f.children, c)
	return c, nil
}

// start starts a proxy and waits for its first line, which contains its address.
func (f *field) start(ctx context.Context, dir, name, program string, args ...string) (*child, error) {
	if program == "" {
		program = "/proc/self/exe"
	}
	c, err := f.run(dir, name, program, args...)
	if err != nil {
		return nil, err
	}
	return c, poll(ctx, name+" listens", func() error {
		file, err := os.Open(filepath.Join(dir, name+".log"))
		if err != nil {
			return err
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		if !lines.Scan() {
			return errors.New("no output")
		}
		var line struct{ Address string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Address == "" {
			return fmt.Errorf("unexpected output: %s", lines.Text())
		}
		c.address = line.Address
		return nil
	})
}

func (c *child) end() error {
	if err := c.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("end %s: %w", c.name, err)
	}
	var killed *exec.ExitError
	if err := c.cmd.Wait(); err != nil && !errors.As(err, &killed) {
		return fmt.Errorf("end %s: %w", c.name, err)
	}
	return nil
}

// use is the resource use of a process.
type use struct {
	residentBytes int
	cpuSeconds    float64
}

func (c *child) use() (use, error) {
	p, err := procfs.NewProc(c.cmd.Process.Pid)
	if err != nil {
		return use{}, fmt.Errorf("read process %s: %w", c.name, err)
	}
	stat, err := p.Stat()
	if err != nil {
		return use{}, fmt.Errorf("read process %s: %w", c.name, err)
	}
	return use{stat.ResidentMemory(), stat.CPUTime()}, nil
}
