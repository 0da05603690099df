package layout

import (
	"fmt"
	"math/big"
	"strings"
)

const (
	// base36Length is how many digits the largest ID has; shorter ones get zeros
	// in front.
	base36Length = 25
	base36Digits = "0123456789abcdefghijklmnopqrstuvwxyz"
)

// Base36 is the ID as a number of 25 digits, 0-9 and a-z, the most significant
// one first.
func (id ID) Base36() string {
	digits := new(big.Int).SetBytes(id[:]).Text(len(base36Digits))
	return strings.Repeat("0", base36Length-len(digits)) + digits
}

// ParseBase36 reads what Base36 gives. Another length, another digit, upper case
// among them, and a number of more than 128 bits are errors.
func ParseBase36(text string) (ID, error) {
	if len(text) != base36Length {
		return ID{}, fmt.Errorf("parse ID %q: %d bytes, want %d", text, len(text), base36Length)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return !strings.ContainsRune(base36Digits, r) }); i >= 0 {
		return ID{}, fmt.Errorf("parse ID %q: byte %d is not in 0-9 and a-z", text, i)
	}
	var id ID
	number, ok := new(big.Int).SetString(text, len(base36Digits))
	if !ok || number.BitLen() > 8*len(id) {
		return ID{}, fmt.Errorf("parse ID %q: more than %d bits", text, 8*len(id))
	}
	number.FillBytes(id[:])
	return id, nil
}

// Prefix is what stands before an ID in text and says what it is the ID of.
type Prefix string

const (
	SandboxPrefix    Prefix = "cl-"
	UserPrefix       Prefix = "usr-"
	TeamPrefix       Prefix = "team-"
	KeyPrefix        Prefix = "key-"
	HostPrefix       Prefix = "host-"
	HostTokenPrefix  Prefix = "htok-"
	RefreshPrefix    Prefix = "hrt-"
	AuditPrefix      Prefix = "log-"
	BuildPrefix      Prefix = "bld-"
	PermissionPrefix Prefix = "perm-"
	ChannelPrefix    Prefix = "ch-"
)

// Format is the ID in text: the prefix and 25 digits.
func (p Prefix) Format(id ID) string {
	return string(p) + id.Base36()
}

// Parse reads what Format gives. Text without the prefix is an error.
func (p Prefix) Parse(text string) (ID, error) {
	digits, ok := strings.CutPrefix(text, string(p))
	if !ok {
		return ID{}, fmt.Errorf("parse ID %q: no prefix %q", text, string(p))
	}
	return ParseBase36(digits)
}
