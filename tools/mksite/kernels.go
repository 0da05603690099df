package main

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	md "github.com/kindling-vm/kindling/internal/markdown"
	"github.com/kindling-vm/kindling/system/lock"
)

// kernelsPage is what the lock says of kernels and of the bases beside them.
func kernelsPage(l *lock.Lock) []byte {
	var b strings.Builder
	b.WriteString("# Kernels\n\nEvery kernel and base that a set can be made of, from `system/artifacts.lock.json`. " +
		"What has no digest is known by its place only: using it is an error until it is pinned.\n\n")
	b.WriteString("## Profiles\n\nA profile names what goes together; `--//system:profile=NAME` chooses one, `debian` if none is named.\n\n")
	var profiles [][]string
	for _, name := range slices.Sorted(maps.Keys(l.Profiles)) {
		profiles = append(profiles, []string{md.Code(name), md.Code(l.Profiles[name].Kernel), md.Code(l.Profiles[name].Base)})
	}
	b.WriteString(md.Table([]string{"profile", "kernel", "base"}, profiles))
	for _, part := range []struct {
		title  string
		kind   lock.Kind
		chosen func(lock.Profile) string
	}{
		{"Kernels and their headers", lock.Kernel, func(p lock.Profile) string { return p.Kernel }},
		{"Bases", lock.Base, func(p lock.Profile) string { return p.Base }},
	} {
		header := []string{"name", "version", "architectures", "profile", "from"}
		if part.kind == lock.Kernel {
			header = append(header, "headers")
		}
		var rows [][]string
		for _, a := range l.Artifacts {
			if a.Kind != part.kind {
				continue
			}
			row := []string{md.Code(a.Name), version(&a), md.Text(a.Arch), chosenBy(l, a.Name, part.chosen), origin(&a)}
			if part.kind == lock.Kernel {
				row = append(row, headers(l, &a))
			}
			rows = addRow(rows, row, 2)
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s", part.title, md.Table(header, rows))
	}
	return []byte(b.String())
}

// addRow appends a row, or only its cell of a column to the row before, where
// they differ in that alone.
func addRow(rows [][]string, row []string, column int) [][]string {
	if len(rows) > 0 {
		last := rows[len(rows)-1]
		if slices.Equal(last[:column], row[:column]) && slices.Equal(last[column+1:], row[column+1:]) {
			last[column] += ", " + row[column]
			return rows
		}
	}
	return append(rows, row)
}

// version is what an artifact's name does not say.
func version(a *lock.Artifact) string {
	if a.Version == a.Name {
		return ""
	}
	return md.Text(a.Version)
}

// chosenBy are the profiles that have an artifact.
func chosenBy(l *lock.Lock, name string, chosen func(lock.Profile) string) string {
	var profiles []string
	for _, profile := range slices.Sorted(maps.Keys(l.Profiles)) {
		if chosen(l.Profiles[profile]) == name {
			profiles = append(profiles, md.Code(profile))
		}
	}
	return strings.Join(profiles, ", ")
}

// origin is whose file an artifact is, Debian's or that of the hosts that have
// it, and whether its bytes are known.
func origin(a *lock.Artifact) string {
	if a.Package != "" {
		return "Debian" // always pinned
	}
	var hosts []string
	for _, address := range a.URLs {
		u, err := url.Parse(address)
		if err != nil {
			panic(err) // lock.Parse has checked it
		}
		hosts = append(hosts, md.Text(u.Host))
	}
	if !a.Pinned() {
		hosts = append(hosts, "not pinned")
	}
	return strings.Join(slices.Compact(hosts), ", ")
}

// headers says whether a kernel has headers, and all of them a digest.
func headers(l *lock.Lock, kernel *lock.Artifact) string {
	if len(kernel.Headers) == 0 {
		return "none"
	}
	for _, name := range kernel.Headers {
		for _, arch := range []string{kernel.Arch, lock.All} {
			if a := l.Lookup(name, arch); a != nil && !a.Pinned() {
				return "not pinned"
			}
		}
	}
	return "yes"
}
