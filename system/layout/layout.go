// Package layout has the rules of the wrenn data directory: where its host agent
// looks for kernels, images and snapshots, how it names what is in there, and
// which kernel it takes.
//
// It does not know the hypeman data directory, which package system keeps.
package layout

import "path/filepath"

// ID is a UUID's 16 bytes: layout.ID(u.Bytes) for a pgtype.UUID. The zero ID is
// both the platform team and the minimal template.
type ID [16]byte

// IsMinimal tells whether team and template together name the minimal image.
func IsMinimal(team, template ID) bool {
	return team == ID{} && template == ID{}
}

// ImagesRoot is the folder of all images.
func ImagesRoot(wrennDir string) string {
	return filepath.Join(wrennDir, "images")
}

// TeamsDir is the folder of the images that belong to teams.
func TeamsDir(wrennDir string) string {
	return filepath.Join(ImagesRoot(wrennDir), "teams")
}

// TemplateDir is the folder of a template's image. The platform team's templates
// other than the minimal one stand among those of the teams.
func TemplateDir(wrennDir string, team, template ID) string {
	if IsMinimal(team, template) {
		return filepath.Join(ImagesRoot(wrennDir), "minimal")
	}
	return filepath.Join(TeamsDir(wrennDir), team.Base36(), template.Base36())
}

// TemplateRootfs is a template's root file system.
func TemplateRootfs(wrennDir string, team, template ID) string {
	return filepath.Join(TemplateDir(wrennDir, team, template), "rootfs.ext4")
}

// PauseSnapshotDir is the folder of a paused sandbox. The sandbox's ID goes into
// the path as it is: one that comes from outside must pass SandboxPrefix.Parse
// first.
func PauseSnapshotDir(wrennDir, sandboxID string) string {
	return filepath.Join(wrennDir, "snapshots", sandboxID)
}

// SandboxesDir is the folder of the running sandboxes.
func SandboxesDir(wrennDir string) string {
	return filepath.Join(wrennDir, "sandboxes")
}
