package ext4

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
)

// TestFormat checks the sizes against fs/ext4/ext4.h: s_flags ends at 0x164,
// i_crtime_extra at 0x98.
func TestFormat(t *testing.T) {
	tests := []struct {
		data any
		want int
	}{
		{superBlock{}, 0x164},
		{groupDesc{}, descSize},
		{inode{}, 0x98},
	}
	for _, test := range tests {
		if got := binary.Size(test.data); got != test.want {
			t.Errorf("size of %T is %#x, want %#x", test.data, got, test.want)
		}
	}
}

// sizes are at and around the steps of newGeometry.
var sizes = []int64{
	MinEmpty, MinEmpty + 1,
	128 << 20, 128<<20 + blockSize, // one group, one and a block
	512<<20 - blockSize, 512 << 20, // inodes
	512<<20 + (2+512+49)*blockSize, 512<<20 + (2+512+50)*blockSize, // last group left out, or just used
	1000 << 20,
	10 << 30,
}

func TestWriteEmpty(t *testing.T) {
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.ext4")
			if err := WriteEmpty(path, 0o600, size); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := info.Size(), roundUp(size, blockSize); got != want || info.Mode() != 0o600 {
				t.Errorf("got size %d, mode %v, want %d, 0600", got, info.Mode(), want)
			}
			if got := info.Sys().(*syscall.Stat_t).Blocks * 512; got > 1<<20 {
				t.Errorf("image occupies %d bytes, want a sparse one", got)
			}
			super, err := tar2ext4.ReadExt4SuperBlock(path)
			if err != nil {
				t.Fatal(err)
			}
			if used := int64(super.BlocksCountLow) * blockSize; used > info.Size() || info.Size()-used > 4<<20 {
				t.Errorf("file system of %d bytes in %d", used, info.Size())
			}
			if super.JournalInum != journalInode || super.UUID == [16]byte{} || super.RootBlocksCountLow != 0 {
				t.Errorf("got journal inode %d, UUID %x, %d reserved blocks", super.JournalInum, super.UUID, super.RootBlocksCountLow)
			}
			// The bitmaps are the reason for this writer.
			if got := freeBits(t, path, super.BlocksCountLow); got != super.FreeBlocksCountLow {
				t.Errorf("bitmaps have %d free blocks, super block %d", got, super.FreeBlocksCountLow)
			}
		})
	}
}

// freeBits counts the zero bits of all block bitmaps.
func freeBits(t *testing.T, path string, blocks uint32) uint32 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var free uint32
	for group := range int64((blocks + blocksPerGroup - 1) / blocksPerGroup) {
		var location [4]byte
		if _, err := f.ReadAt(location[:], blockSize+group*descSize); err != nil {
			t.Fatal(err)
		}
		var bitmap [blockSize]byte
		if _, err := f.ReadAt(bitmap[:], int64(binary.LittleEndian.Uint32(location[:]))*blockSize); err != nil {
			t.Fatal(err)
		}
		for _, b := range bitmap {
			free += uint32(8 - bits.OnesCount8(b))
		}
	}
	return free
}

func TestWriteEmptyRejects(t *testing.T) {
	for _, size := range []int64{-1, 0, MinEmpty - 1, MaxEmpty + 1} {
		dir := t.TempDir()
		err := WriteEmpty(filepath.Join(dir, "disk.ext4"), 0o600, size)
		want := fmt.Sprintf("size %d, want 67108864 to 1099511627776", size)
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("size %d: got error %v, want %s", size, err, want)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 0 {
			t.Errorf("size %d: directory holds %v, %v, want nothing", size, entries, err)
		}
	}
}
