package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// Lease keeps sets from being collected until it is released, its owner is gone
// or its time is over, whichever is first.
type Lease struct {
	Version int       `json:"version"` // 1; Lease fills it in
	Name    string    `json:"name"`    // of an instance, say: letters, digits, dots, hyphens, underscores
	Sets    []string  `json:"sets"`    // IDs
	Owner   *Process  `json:"owner,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

const leaseSuffix = ".json"

var leaseName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func (l *Lease) validate() error {
	switch {
	case l.Version != 1:
		return fmt.Errorf("lease has version %d, want 1", l.Version)
	case !leaseName.MatchString(l.Name):
		return fmt.Errorf("lease has name %.120q, want letters, digits, dots, hyphens and underscores", l.Name)
	case len(l.Sets) == 0:
		return errors.New("lease names no artifact set")
	case l.Owner != nil && (l.Owner.PID <= 0 || l.Owner.BootID == "" || l.Owner.Namespace == ""):
		return errors.New("lease has an owner without number, boot or namespace")
	case l.Owner == nil && l.Expires.IsZero():
		return errors.New("lease has neither owner nor expiry, it would never end")
	}
	for _, id := range l.Sets {
		if err := checkID(id); err != nil {
			return err
		}
	}
	return nil
}

// Lease writes a lease, in the place of one of the same name. All its sets must
// be installed.
func (s *Store) Lease(ctx context.Context, lease Lease) error {
	lease.Version = 1
	err := lease.validate()
	if err == nil {
		err = s.adding(ctx, func(d *datadir.Dir) error {
			for _, id := range lease.Sets {
				if _, err := readSet(d, id); err != nil {
					return err
				}
			}
			data, err := marshal(lease)
			if err != nil {
				return err
			}
			if err := d.WriteFile(path.Join(leasesDir, lease.Name+leaseSuffix), data, 0o644); err != nil {
				return err
			}
			return errors.Join(d.SyncDir(leasesDir), d.SyncDir("."))
		})
	}
	if err != nil {
		return fmt.Errorf("write lease %.120q: %w", lease.Name, err)
	}
	return nil
}

// Release ends a lease. It is no error if there is none.
func (s *Store) Release(ctx context.Context, name string) error {
	if !leaseName.MatchString(name) {
		return fmt.Errorf("release lease %.120q: no lease has such a name", name)
	}
	err := s.reading(ctx, func(d *datadir.Dir) error { return d.Remove(path.Join(leasesDir, name+leaseSuffix)) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release lease %s: %w", name, err)
	}
	return nil
}

// Leases gives all leases in order of their names, also those that are over.
func (s *Store) Leases(ctx context.Context) (leases []Lease, err error) {
	err = s.reading(ctx, func(d *datadir.Dir) error {
		leases, err = readLeases(d)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	return leases, nil
}

// readLeases fails if it cannot read one: nobody knows what it was to protect.
func readLeases(d *datadir.Dir) ([]Lease, error) {
	names, err := d.List(leasesDir)
	if err != nil {
		return nil, err
	}
	var leases []Lease
	for _, name := range names {
		data, err := d.ReadFile(path.Join(leasesDir, name), documentsLimit)
		if errors.Is(err, fs.ErrNotExist) {
			continue // released meanwhile
		}
		if err != nil {
			return nil, err
		}
		var lease Lease
		err = parseStrict(data, &lease)
		if err == nil {
			err = lease.validate()
		}
		if stem, ok := strings.CutSuffix(name, leaseSuffix); err == nil && (!ok || stem != lease.Name) {
			err = fmt.Errorf("it has the name %s", lease.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("read lease %s: %w", d.Path(path.Join(leasesDir, name)), err)
		}
		leases = append(leases, lease)
	}
	return leases, nil
}

// over tells why a lease counts no more, or gives "".
func (l *Lease) over(now time.Time) (string, error) {
	if !l.Expires.IsZero() && !now.Before(l.Expires) {
		return "it expired " + l.Expires.UTC().Format(time.RFC3339), nil
	}
	if l.Owner != nil {
		alive, err := l.Owner.Alive()
		if err != nil {
			return "", fmt.Errorf("look for the owner of lease %s: %w", l.Name, err)
		}
		if !alive {
			return fmt.Sprintf("its owner, process %d, is gone", l.Owner.PID), nil
		}
	}
	return "", nil
}

// parseStrict reads one JSON document. An unknown or repeated key is an error.
func parseStrict(data []byte, into any) error {
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("more than one document")
	}
	return checkRepeated(json.NewDecoder(strings.NewReader(string(data))))
}

// checkRepeated refuses a key that stands twice in an object. The decoder of
// fields does not tell upper from lower case, so neither does this.
func checkRepeated(decoder *json.Decoder) error {
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for decoder.More() {
		if delim == '{' {
			token, err := decoder.Token()
			if err != nil {
				return err
			}
			key, _ := token.(string)
			if lower := strings.ToLower(key); seen[lower] {
				return fmt.Errorf("key %q stands twice", key)
			}
			seen[strings.ToLower(key)] = true
		}
		if err := checkRepeated(decoder); err != nil {
			return err
		}
	}
	_, err = decoder.Token()
	return err
}
