//go:build linux

package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryRowIsProven names, for each row of the table of faults, the tests
// that prove it, and fails when one of them is gone. Rows 15 and 16, transfers of
// files and certificates, are proven where those are.
func TestEveryRowIsProven(t *testing.T) {
	t.Parallel()
	const here = "scripts/faults"
	rows := []struct {
		row   string
		dir   string
		tests []string
	}{
		{"1 kill the daemon while sending", here, []string{"TestFault01KillDaemonWhileSending"}},
		{"2 kill between decrypt and ack", here, []string{"TestFault02KillDaemonBetweenDecryptAndAck"}},
		{"3 kill the server", here, []string{"TestFault03KillServer"}},
		{"4 freeze", here, []string{"TestFault04Freeze"}},
		{"5 unsynced writes", here, []string{"TestFault05LostWritesOfTheDaemon", "TestFault05LostWritesOfTheServer"}},
		{"6 corrupt page", here, []string{"TestFault06CorruptPageAtTheClient", "TestFault06CorruptPageWhileRunning", "TestFault06CorruptPageAtTheServer"}},
		{"7 restored or cloned profile", here, []string{"TestFault07RestoredProfile", "TestFault07SendAcrossReplacement", "TestFault07ClonedProfile"}},
		{"7 a wait goes on", "daemon/engine", []string{"TestAWaitOutlivesItsEngine", "TestAWaitWithoutEngineEndsInTime"}},
		{"7 no key or nonce twice", "crypto/ratchet", []string{"TestRollbackRepeatsNoNonce"}},
		{"8 full disk", here, []string{"TestFault08FullDiskAtTheClient", "TestFault08FullDiskAtTheServer"}},
		{"9 fsync fails", here, []string{"TestFault09FsyncFails"}},
		{"10 no file descriptors", here, []string{"TestFault10OutOfFileDescriptors"}},
		{"11 partition", here, []string{"TestFault11PartitionBothWays", "TestFault11PartitionOfReplicaOnly"}},
		{"12 half-open", here, []string{"TestFault12HalfOpen"}},
		{"13 frames", here, []string{"TestFault13Frames"}},
		{"14 slow lines, resets", here, []string{"TestFault14SlowLineAndResets"}},
		{"17 wall clock of the server", here, []string{"TestFault17WallClockOfTheServer"}},
		{"17 wall clock of the server", "serverd/clock", []string{"TestJumpsAreNotFollowed", "TestConfirmBelievesTheWallClock", "TestSmallCorrectionsAreFollowed"}},
		{"17 nothing is swept", "serverd/relay", []string{"TestHeldClockSweepsNothing", "TestHeldClockRefusesNothingAsExpired"}},
		{"17 wall clock of the client", "daemon/store", []string{"TestProfileClock", "TestProfileClockCatchesUp", "TestProfileTimeNeverGoesBack"}},
		{"18 killed upgrade", "daemon/store", []string{"TestKilledMigrationIsOldOrNew"}},
		{"19 two daemons", here, []string{"TestFault19TwoDaemons"}},
		{"20 blocked log", here, []string{"TestFault20LogBlocked"}},
		{"20 blocked log", "cmd/secmsg", []string{"TestLogWriterNeverWaits"}},
		{"21 crashing decoder", "daemon/engine", []string{"TestACrashIsContained"}},
		{"21 crash in a transaction", "daemon/store", []string{"TestSubIsolatesPanic"}},
		{"22 away longer than retention", here, []string{"TestFault22RecipientAwayLongerThanRetention"}},
	}
	for _, row := range rows {
		var all strings.Builder
		files, err := filepath.Glob(filepath.Join("..", "..", row.dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
		for _, name := range row.tests {
			if !strings.Contains(all.String(), "\nfunc "+name+"(t *testing.T)") {
				t.Errorf("row %s: %s has no %s", row.row, row.dir, name)
			}
		}
	}
}
