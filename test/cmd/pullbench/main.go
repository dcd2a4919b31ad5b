// Command pullbench measures cold pulls of the driver's image store beside podman's, of one image of
// this machine's files from a registry on the loopback interface, in turns. It needs root and podman.
//
// It measures no start of a task, and no registry but its own.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

func main() {
	if image.Reexec() {
		return
	}
	turns := flag.Int("turns", 10, "pulls with each program")
	layers := flag.Int("layers", 6, "layers of the image")
	megabytes := flag.Int("mb", 50, "MiB of files in a layer")
	dir := flag.String("dir", "/var/tmp", "directory of the stores")
	flag.Parse()
	if err := run(*turns, *layers, int64(*megabytes)<<20, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "pullbench:", err)
		os.Exit(1)
	}
}

// puller is a program that pulls the image into a new store below dir.
type puller struct {
	name  string
	pull  func(ctx context.Context, dir, reference string) error
	costs []cost
}

// cost is the time and the processor time of a pull.
type cost struct{ wall, cpu time.Duration }

func run(turns, layers int, layerBytes int64, parent string) error {
	if _, err := exec.LookPath("podman"); err != nil {
		return fmt.Errorf("%w: install it to compare with it", err)
	}
	top, err := os.MkdirTemp(parent, "pullbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	fmt.Printf("an image of %d layers with up to %d MiB of files\n", layers, layerBytes>>20)
	registry, err := serve(layers, layerBytes)
	if err != nil {
		return err
	}
	defer registry.Close()
	pullers := []*puller{{name: "driver", pull: ours}, {name: "podman", pull: podmans}}
	for turn := range turns {
		for _, p := range pullers {
			dir := filepath.Join(top, fmt.Sprint(p.name, turn))
			if err := p.turn(dir, registry.reference); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		slices.Reverse(pullers)
	}
	report(pullers)
	return nil
}

// turn pulls once into a new store, with an empty queue of dirty pages, and removes the store.
func (p *puller) turn(dir, reference string) error {
	unix.Sync()
	before, begin := childrenCPU(), time.Now()
	if err := p.pull(context.Background(), dir, reference); err != nil {
		return err
	}
	p.costs = append(p.costs, cost{time.Since(begin), childrenCPU() - before})
	return os.RemoveAll(dir)
}

func ours(ctx context.Context, dir, reference string) error {
	ref, err := image.ParseReference(reference)
	if err != nil {
		return err
	}
	conf := dir + ".conf"
	insecure := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", filepath.Dir(reference))
	if err := os.WriteFile(conf, []byte(insecure), 0o600); err != nil {
		return err
	}
	store, err := image.Open(image.Config{Root: dir, RunRoot: dir + "/run", RegistriesConf: conf})
	if err != nil {
		return err
	}
	if _, err := store.Ensure(ctx, ref, image.PullOptions{}); err != nil {
		return err
	}
	return store.Close()
}

func podmans(ctx context.Context, dir, reference string) error {
	out, err := exec.CommandContext(ctx, "podman", "--root", dir, "--runroot", dir+"/run", "--storage-driver", "overlay",
		"--cgroup-manager", "cgroupfs", "pull", "--quiet", "--tls-verify=false", reference).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// childrenCPU returns the processor time of the children that have ended. The registry runs in
// this process, and does not count.
func childrenCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &u); err != nil {
		panic(err) // the arguments are constants
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func report(pullers []*puller) {
	slices.SortFunc(pullers, func(a, b *puller) int { return len(a.name) - len(b.name) })
	median := map[string]cost{}
	for _, p := range pullers {
		m := cost{middle(p.costs, func(c cost) time.Duration { return c.wall }), middle(p.costs, func(c cost) time.Duration { return c.cpu })}
		median[p.name] = m
		fmt.Printf("%-8s %6.2f s  %6.2f s of a processor  (median of %d)\n", p.name, m.wall.Seconds(), m.cpu.Seconds(), len(p.costs))
	}
	a, b := median["driver"], median["podman"]
	fmt.Printf("ratio    %6.2f    %6.2f\n", a.wall.Seconds()/b.wall.Seconds(), a.cpu.Seconds()/b.cpu.Seconds())
}

func middle(costs []cost, of func(cost) time.Duration) time.Duration {
	all := make([]time.Duration, len(costs))
	for i, c := range costs {
		all[i] = of(c)
	}
	slices.Sort(all)
	return all[len(all)/2]
}
