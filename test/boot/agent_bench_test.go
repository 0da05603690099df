//go:build vm

package boot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bazelbuild/rules_go/go/runfiles"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm/agent"
)

const (
	rawPort = 2300      // of rawvsock
	moved   = 256 << 20 // bytes that each way of moving them moves
)

// BenchmarkAgent boots one machine, in which it compares the agent with a program
// that does nothing but move bytes through the same device, and measures how
// long commands take.
func BenchmarkAgent(b *testing.B) {
	name, err := runfiles.Rlocation("_main/test/boot/rawvsock/rawvsock_/rawvsock")
	if err != nil {
		b.Fatal(err)
	}
	program, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op") // has no meaning here
	boot(b, options{
		config: &contract.Config{Cmd: []string{"/rawvsock"}, SkipKernelHeaders: true},
		memory: 1024, timeout: 15 * time.Minute,
		image: []v1.Layer{layer(b, map[string][]byte{"rawvsock": program}, file("rawvsock", 0o755))},
		running: func(ctx context.Context, vsock string) {
			if err := measure(ctx, b, vsock); err != nil {
				b.Fatal(err)
			}
		},
	})
}

func measure(ctx context.Context, b *testing.B, vsock string) (err error) {
	client, err := agent.NewHybridClient(vsock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.WaitReady(ctx); err != nil {
		return err
	}
	type way struct {
		name string
		move func() error
	}
	ways := []way{
		{"raw-in", func() error { return raw(ctx, vsock, 'i', moved) }},
		{"stdin", func() error {
			return command(ctx, client, agent.ExecOptions{Command: []string{"dd", "of=/dev/null", "bs=32k"}, Stdin: io.LimitReader(zeros{}, moved)}, 0)
		}},
		{"raw-out", func() error { return raw(ctx, vsock, 'o', moved) }},
		{"stdout", func() error {
			return command(ctx, client, agent.ExecOptions{Command: []string{"dd", "if=/dev/zero", "bs=32k", fmt.Sprintf("count=%d", moved>>15)}}, moved)
		}},
	}
	dir := b.TempDir()
	source := filepath.Join(dir, "source")
	if err := os.WriteFile(source, nil, 0o600); err != nil {
		return err
	}
	// Random, or holes would be made of it.
	if err := fill(source, moved); err != nil {
		return err
	}
	ways = append(ways, []way{
		{"copy-in", func() error {
			_, err := client.CopyTo(ctx, agent.CopyToOptions{Source: source, Dir: "/dev/shm", Name: "file"})
			return err
		}},
		{"copy-out", func() error {
			_, err := client.CopyFrom(ctx, agent.CopyFromOptions{Source: "/dev/shm/file", Dir: dir, Name: "back"})
			return err
		}},
	}...)
	rates := map[string]float64{}
	for _, way := range ways {
		start := time.Now()
		if err := way.move(); err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		rates[way.name] = moved / time.Since(start).Seconds() / 1e6
		b.ReportMetric(rates[way.name], way.name+"-MB/s")
	}
	b.ReportMetric(rates["stdin"]/rates["raw-in"], "stdin/raw")
	b.ReportMetric(rates["stdout"]/rates["raw-out"], "stdout/raw")
	b.ReportMetric(rates["copy-in"]/rates["raw-in"], "copy-in/raw")
	b.ReportMetric(rates["copy-out"]/rates["raw-out"], "copy-out/raw")
	if err := measureCommands(ctx, b, client, vsock); err != nil {
		return err
	}
	return raw(ctx, vsock, 'q', 0)
}

// measureCommands runs true by the agent and, in turn with the one at a time, by
// rawvsock.
func measureCommands(ctx context.Context, b *testing.B, client *agent.Client, vsock string) error {
	const count, turns = 1000, 10
	var ours, bare []time.Duration
	for range turns {
		times, err := commandTimes(ctx, client, count/turns, 1)
		if err != nil {
			return err
		}
		ours = append(ours, times...)
		if times, err = rawCommandTimes(ctx, vsock, count/turns); err != nil {
			return fmt.Errorf("run true by rawvsock: %w", err)
		}
		bare = append(bare, times...)
	}
	many, err := commandTimes(ctx, client, count, 64)
	if err != nil {
		return err
	}
	for _, way := range []struct {
		name  string
		times []time.Duration
	}{{"exec-1", ours}, {"raw-exec-1", bare}, {"exec-64", many}} {
		slices.Sort(way.times)
		b.ReportMetric(way.times[count/2].Seconds()*1e3, way.name+"-p50-ms")
		b.ReportMetric(way.times[count*99/100].Seconds()*1e3, way.name+"-p99-ms")
	}
	b.ReportMetric(ours[count/2].Seconds()/bare[count/2].Seconds(), "exec/raw")
	return nil
}

// fill writes random bytes into a file.
func fill(name string, size int64) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), size)
	return err
}

// zeros is an endless input.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// counter is an output of which only the size matters.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// command runs a command that must succeed with that much output.
func command(ctx context.Context, client *agent.Client, o agent.ExecOptions, size int64) error {
	var output counter
	o.Stdout = &output
	exit, err := client.Exec(ctx, o)
	if err != nil {
		return err
	}
	if !exit.Success() || int64(output) != size {
		return fmt.Errorf("run %q: %v with %d bytes of output, want %d", o.Command, exit, output, size)
	}
	return nil
}

// raw asks rawvsock for something.
func raw(ctx context.Context, vsock string, what byte, size int64) (err error) {
	conn, err := agent.DialHybrid(ctx, vsock, rawPort)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.Write(binary.BigEndian.AppendUint64([]byte{what}, uint64(size))); err != nil {
		return err
	}
	switch what {
	case 'i':
		if _, err := io.CopyBuffer(struct{ io.Writer }{conn}, io.LimitReader(zeros{}, size), make([]byte, 32<<10)); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err
	case 'o':
		_, err := io.CopyN(io.Discard, conn, size)
		return err
	}
	return nil
}

// rawCommandTimes has rawvsock run true count times over one connection, one
// after the other, and gives how long each took.
func rawCommandTimes(ctx context.Context, vsock string, count int) (times []time.Duration, err error) {
	conn, err := agent.DialHybrid(ctx, vsock, rawPort)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.Write(binary.BigEndian.AppendUint64([]byte{'x'}, uint64(count))); err != nil {
		return nil, err
	}
	for range count {
		start := time.Now()
		if _, err := conn.Write([]byte{0}); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			return nil, err
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}

// commandTimes runs true count times, by so many at a time, and gives how long
// each took.
func commandTimes(ctx context.Context, client *agent.Client, count, workers int) ([]time.Duration, error) {
	times := make([]time.Duration, count)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for i := range times {
		group.Go(func() error {
			start := time.Now()
			err := command(ctx, client, agent.ExecOptions{Command: []string{"true"}}, 0)
			times[i] = time.Since(start)
			return err
		})
	}
	return times, group.Wait()
}
