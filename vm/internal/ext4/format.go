package ext4

// inodeExtra is how much of the fields behind the first 128 bytes of an inode
// is in use.
const inodeExtra = 32

// superBlock is struct ext4_super_block of fs/ext4/ext4.h up to s_flags.
type superBlock struct {
	Inodes, Blocks, ReservedBlocks, FreeBlocks, FreeInodes uint32
	FirstDataBlock, LogBlockSize, LogClusterSize           uint32
	BlocksPerGroup, ClustersPerGroup, InodesPerGroup       uint32
	MountTime, WriteTime                                   uint32
	Mounts, MaxMounts, Magic, State, Errors, MinorRevision uint16
	CheckTime, CheckInterval, CreatorOS, Revision          uint32
	ReservedUID, ReservedGID                               uint16
	FirstInode                                             uint32
	InodeSize, BlockGroup                                  uint16
	Compat, Incompat, RoCompat                             uint32
	UUID                                                   [16]byte
	Label                                                  [16]byte
	LastMounted                                            [64]byte
	_                                                      [8]byte // compression, preallocation
	JournalUUID                                            [16]byte
	JournalInode, JournalDevice, LastOrphan                uint32
	HashSeed                                               [16]byte
	HashVersion, JournalBackup                             uint8
	DescSize                                               uint16 // 0: 32 bytes
	MountOptions, FirstMetaGroup, MkfsTime                 uint32
	JournalBlocks                                          [17]uint32
	BlocksHigh, ReservedBlocksHigh, FreeBlocksHigh         uint32
	MinExtraIsize, WantExtraIsize                          uint16
	Flags                                                  uint32
}

// groupDesc is struct ext4_group_desc without the 64bit feature.
type groupDesc struct {
	BlockBitmap, InodeBitmap, InodeTable    uint32
	FreeBlocks, FreeInodes, UsedDirs, Flags uint16
	ExcludeBitmap                           uint32
	BlockChecksum, InodeChecksum            uint16
	UnusedInodes, Checksum                  uint16
}

// inode is struct ext4_inode up to i_crtime_extra.
type inode struct {
	Mode, UID                                uint16
	Size                                     uint32
	AccessTime, ChangeTime, ModTime, DelTime uint32
	GID, Links                               uint16
	Sectors, Flags, Version                  uint32
	Block                                    [15]uint32
	Generation, XattrBlock, SizeHigh         uint32
	_                                        [4 + 12]byte // fragments, upper halves
	ExtraIsize, ChecksumHigh                 uint16
	ChangeExtra, ModExtra, AccessExtra       uint32
	CreateTime, CreateExtra                  uint32
}
