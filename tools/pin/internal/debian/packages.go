package debian

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxLine bounds a line of an index, in bytes. Dependencies make long ones.
const maxLine = 1 << 20

// parsePackages gives the entries of one package and architecture. Source:
// deb-control(5).
func parsePackages(index io.Reader, name, arch string) ([]Package, error) {
	var found []Package
	fields := map[string]string{}
	finish := func() error {
		if fields["Package"] == name && fields["Architecture"] == arch {
			size, err := strconv.ParseInt(fields["Size"], 10, 64)
			if err != nil {
				return fmt.Errorf("package %s: size is %q", name, fields["Size"])
			}
			found = append(found, Package{fields["Version"], fields["Filename"], fields["SHA256"], size})
		}
		clear(fields)
		return nil
	}
	scanner := bufio.NewScanner(index)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		line := scanner.Text()
		if line == "" {
			if err := finish(); err != nil {
				return nil, err
			}
			continue
		}
		// A line that goes on starts with a space, so its key is none of those.
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "Package", "Architecture", "Version", "Filename", "SHA256", "Size":
			if _, ok := fields[key]; ok {
				return nil, fmt.Errorf("package %s: field %s stands twice", fields["Package"], key)
			}
			fields[key] = strings.TrimSpace(value)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, err
	}
	return found, finish()
}
