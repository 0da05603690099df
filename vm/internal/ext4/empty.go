package ext4

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Sizes of an empty image.
const (
	// MinEmpty leaves a little over 50 MiB beside journal and inode tables.
	MinEmpty = 64 << 20
	// MaxEmpty is far below the format's limit of 16 TiB (32-bit block
	// numbers); the bitmaps of 1 TiB occupy 64 MiB.
	MaxEmpty = 1 << 40
)

// The layout: fs/ext4/ext4.h and Documentation/filesystems/ext4 of Linux.
const (
	superOffset    = 1024
	blocksPerGroup = 8 * blockSize // as many bits as a bitmap block has
	inodeSize      = 256
	inodesPerBlock = blockSize / inodeSize
	descSize       = 32
	sectorsInBlock = blockSize / 512

	rootInode      = 2 // EXT4_ROOT_INO
	journalInode   = 8 // EXT4_JOURNAL_INO
	lostFoundInode = 11
	reservedInodes = 10

	// Metadata of the block group at its start, in this order; group 0 has
	// super block and descriptors before it.
	bitmapBlocks = 2 // of blocks, of inodes
	// minGroupData: a last group with less room is left unused, as mke2fs does.
	minGroupData = 50

	typeDir, typeRegular = 0x4000, 0x8000 // S_IFDIR, S_IFREG
	direntDir            = 2              // EXT4_FT_DIR
	extentsFlag          = 0x80000        // EXT4_EXTENTS_FL
	extentMagic          = 0xf30a         // EXT4_EXT_MAGIC
)

// geometry is the layout of one empty file system, in blocks.
type geometry struct {
	blocks         uint32
	groups         uint32
	inodesPerGroup uint32
	tableBlocks    uint32 // inode table of a group
	descBlocks     uint32
	journalBlocks  uint32
}

// newGeometry follows mke2fs: one inode for 4096 bytes below 512 MiB, for
// 16384 bytes from there, and a journal of 4 to 64 MiB.
func newGeometry(size int64) geometry {
	g := geometry{blocks: uint32(size / blockSize)}
	bytesPerInode := uint32(16384)
	if size < 512<<20 {
		bytesPerInode = 4096
	}
	g.inodesPerGroup = min(g.blocks, blocksPerGroup) / (bytesPerInode / blockSize)
	g.inodesPerGroup = g.inodesPerGroup / inodesPerBlock * inodesPerBlock
	g.tableBlocks = g.inodesPerGroup / inodesPerBlock
	if tail := g.blocks % blocksPerGroup; g.blocks > blocksPerGroup && tail < bitmapBlocks+g.tableBlocks+minGroupData {
		g.blocks -= tail
	}
	g.groups = (g.blocks + blocksPerGroup - 1) / blocksPerGroup
	g.descBlocks = (g.groups*descSize + blockSize - 1) / blockSize
	g.journalBlocks = min(max(g.blocks/64, 1024), 16384)
	return g
}

// metadata is the block at which the bitmaps of a group start.
func (g geometry) metadata(group uint32) uint32 {
	if group == 0 {
		return 1 + g.descBlocks
	}
	return group * blocksPerGroup
}

// data is the first block behind the inode table of a group. In group 0 the
// root directory, lost+found and the journal follow.
func (g geometry) data(group uint32) uint32 {
	return g.metadata(group) + bitmapBlocks + g.tableBlocks
}

func (g geometry) rootBlock() uint32      { return g.data(0) }
func (g geometry) lostFoundBlock() uint32 { return g.data(0) + 1 }
func (g geometry) journalBlock() uint32   { return g.data(0) + 2 }

// used is the first block of a group that is free.
func (g geometry) used(group uint32) uint32 {
	if group == 0 {
		return g.journalBlock() + g.journalBlocks
	}
	return g.data(group)
}

// end is the block behind a group.
func (g geometry) end(group uint32) uint32 {
	return min((group+1)*blocksPerGroup, g.blocks)
}

// WriteEmpty writes an empty, sparse, writable ext4 image: a journal, no
// reserved blocks, no backups of the super block, a random UUID. The size is
// rounded up to a multiple of the block size. The file at path appears
// complete or not at all.
//
// The packages at hand do not do it: containerd/continuity v0.5.0 (pkg/ext4)
// makes no journal, which a disk needs that outlives a killed VM, and it leaves
// out the block bitmaps of groups into which the inode tables of group 0 reach,
// so that Linux finds an image of 10 GiB corrupt.
func WriteEmpty(path string, perm os.FileMode, size int64) error {
	if size < MinEmpty || size > MaxEmpty {
		return fmt.Errorf("create ext4 image %q: size %d, want %d to %d", path, size, MinEmpty, int64(MaxEmpty))
	}
	size = roundUp(size, blockSize)
	return create(path, perm, func(f *os.File) error {
		if err := f.Truncate(size); err != nil {
			return err
		}
		return newGeometry(size).write(f, time.Now())
	})
}

// write puts down what is not zero.
func (g geometry) write(w io.WriterAt, now time.Time) error {
	var err error
	put := func(block uint32, offset int64, data any) {
		if err != nil {
			return
		}
		buf, encodeErr := binary.Append(nil, binary.LittleEndian, data)
		if encodeErr != nil {
			err = encodeErr
			return
		}
		_, err = w.WriteAt(buf, int64(block)*blockSize+offset)
	}
	journal := extentInode(typeRegular|0o600, 1, g.journalBlocks, g.journalBlock(), now)
	descs := make([]groupDesc, g.groups)
	for group := range g.groups {
		descs[group] = g.desc(group)
		put(descs[group].BlockBitmap, 0, g.blockBitmap(group))
		put(descs[group].InodeBitmap, 0, g.inodeBitmap(group))
	}
	put(1, 0, descs)
	table := descs[0].InodeTable
	put(table, (rootInode-1)*inodeSize, extentInode(typeDir|0o755, 3, 1, g.rootBlock(), now))
	put(table, (journalInode-1)*inodeSize, journal)
	put(table, (lostFoundInode-1)*inodeSize, extentInode(typeDir|0o700, 2, 1, g.lostFoundBlock(), now))
	put(g.rootBlock(), 0, directory(rootInode, dirent{lostFoundInode, "lost+found"}))
	put(g.lostFoundBlock(), 0, directory(lostFoundInode))
	put(g.journalBlock(), 0, g.journalSuper())
	put(0, superOffset, g.super(descs, journal, now))
	return err
}

func (g geometry) desc(group uint32) groupDesc {
	d := groupDesc{
		BlockBitmap: g.metadata(group),
		InodeBitmap: g.metadata(group) + 1,
		InodeTable:  g.metadata(group) + bitmapBlocks,
		FreeBlocks:  uint16(g.end(group) - g.used(group)),
		FreeInodes:  uint16(g.inodesPerGroup),
	}
	if group == 0 {
		d.FreeInodes -= lostFoundInode
		d.UsedDirs = 2
	}
	return d
}

func (g geometry) blockBitmap(group uint32) []byte {
	start := group * blocksPerGroup
	bitmap := make([]byte, blockSize)
	setBits(bitmap, 0, g.used(group)-start)
	setBits(bitmap, g.end(group)-start, blocksPerGroup)
	return bitmap
}

func (g geometry) inodeBitmap(group uint32) []byte {
	bitmap := make([]byte, blockSize)
	if group == 0 {
		setBits(bitmap, 0, lostFoundInode)
	}
	setBits(bitmap, g.inodesPerGroup, 8*blockSize)
	return bitmap
}

func setBits(bitmap []byte, from, to uint32) {
	for i := from; i < to; i++ {
		bitmap[i/8] |= 1 << (i % 8)
	}
}

func (g geometry) super(descs []groupDesc, journal inode, now time.Time) superBlock {
	s := superBlock{
		Inodes:         g.groups * g.inodesPerGroup,
		Blocks:         g.blocks,
		LogBlockSize:   2, // 1024 << 2
		LogClusterSize: 2,
		BlocksPerGroup: blocksPerGroup, ClustersPerGroup: blocksPerGroup,
		InodesPerGroup: g.inodesPerGroup,
		WriteTime:      uint32(now.Unix()), CheckTime: uint32(now.Unix()), MkfsTime: uint32(now.Unix()),
		MaxMounts:     0xffff, // no check by count
		Magic:         0xef53,
		State:         1, // EXT4_VALID_FS
		Errors:        1, // EXT4_ERRORS_CONTINUE
		Revision:      1, // EXT4_DYNAMIC_REV
		FirstInode:    reservedInodes + 1,
		InodeSize:     inodeSize,
		Compat:        0x4 | 0x8 | 0x20 | 0x200, // has_journal, ext_attr, dir_index, sparse_super2 (without backups)
		Incompat:      0x2 | 0x40,               // filetype, extents
		RoCompat:      0x2 | 0x8 | 0x20 | 0x40,  // large_file, huge_file, dir_nlink, extra_isize
		JournalInode:  journalInode,
		HashVersion:   1,         // half MD4
		JournalBackup: 1,         // JournalBlocks is the journal's inode
		MountOptions:  0x4 | 0x8, // user_xattr, acl
		MinExtraIsize: inodeExtra, WantExtraIsize: inodeExtra,
		Flags: 1, // directory hashes take characters as signed
	}
	for _, d := range descs {
		s.FreeBlocks += uint32(d.FreeBlocks)
		s.FreeInodes += uint32(d.FreeInodes)
	}
	copy(s.JournalBlocks[:], journal.Block[:])
	s.JournalBlocks[16] = journal.Size
	rand.Read(s.UUID[:])              // never fails
	s.UUID[6] = s.UUID[6]&0x0f | 0x40 // version 4, RFC 9562
	s.UUID[8] = s.UUID[8]&0x3f | 0x80
	rand.Read(s.HashSeed[:])
	return s
}

// journalSuper is the super block of an empty journal, big-endian
// (journal_superblock_s in include/linux/jbd2.h).
func (g geometry) journalSuper() []byte {
	var b []byte
	for _, field := range []uint32{
		0xc03b3998, 4, 0, // JBD2_MAGIC_NUMBER, JBD2_SUPERBLOCK_V2, sequence of a block
		blockSize, g.journalBlocks, 1, // block size, length, first block of the log
		1, 0, 0, // first sequence, start (0: nothing to recover), error
		0, 0, 0, // features
		0, 0, 0, 0, // UUID
		1, // users
	} {
		b = binary.BigEndian.AppendUint32(b, field)
	}
	return b
}

type dirent struct {
	inode uint32
	name  string
}

// directory is the block of a directory below the root, or of the root itself.
func directory(self uint32, children ...dirent) []byte {
	entries := append([]dirent{{self, "."}, {rootInode, ".."}}, children...)
	var b []byte
	for i, e := range entries {
		length := 8 + roundUp(int64(len(e.name)), 4)
		if i == len(entries)-1 {
			length = blockSize - int64(len(b))
		}
		entry := binary.LittleEndian.AppendUint32(nil, e.inode)
		entry = binary.LittleEndian.AppendUint16(entry, uint16(length))
		entry = append(entry, uint8(len(e.name)), direntDir)
		entry = append(entry, e.name...)
		b = append(b, slices.Concat(entry, make([]byte, int(length)-len(entry)))...)
	}
	return b
}

// extentInode is the inode of a file whose blocks are one extent.
func extentInode(mode, links uint16, blocks, start uint32, now time.Time) inode {
	t := uint32(now.Unix())
	return inode{
		Mode: mode, Links: links, Size: blocks * blockSize, Sectors: blocks * sectorsInBlock,
		AccessTime: t, ChangeTime: t, ModTime: t, CreateTime: t,
		Flags: extentsFlag, ExtraIsize: inodeExtra,
		Block: [15]uint32{
			extentMagic | 1<<16, // one entry
			4,                   // room for four, depth 0
			0,                   // generation
			0, blocks, start,    // first block of the file, length, block on disk
		},
	}
}
