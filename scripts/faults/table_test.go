//go:build linux

package faults

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// proof names the tests, in one directory, that prove a row of a table.
type proof struct {
	row   string
	dir   string
	tests []string
}

// TestEveryRowIsProven names, for each row of the table of faults in
// rpc/DELIVERY.md, the tests that prove it, and fails when a row has none or one of
// them is gone.
func TestEveryRowIsProven(t *testing.T) {
	t.Parallel()
	const here = "scripts/faults"
	rows := []proof{
		{"1 kill the daemon while sending", here, []string{"TestFault01KillDaemonWhileSending"}},
		{"2 kill between decrypt and ack", here, []string{"TestFault02KillDaemonBetweenDecryptAndAck"}},
		{"3 kill the server", here, []string{"TestFault03KillServer"}},
		{"4 freeze", here, []string{"TestFault04Freeze"}},
		{"5 unsynced writes", here, []string{"TestFault05LostWritesOfTheDaemon", "TestFault05LostWritesOfTheServer"}},
		{"6 corrupt page", here, []string{"TestFault06CorruptPageAtTheClient", "TestFault06CorruptPageWhileRunning", "TestFault06CorruptPageAtTheServer"}},
		{"7 restored or cloned profile", here, []string{"TestFault07RestoredProfile", "TestFault07SendAcrossReplacement", "TestFault07ClonedProfile"}},
		{"7 mail in flight", here, []string{"TestFault07MailInFlight"}},
		{"7 mail in flight", "daemon/engine", []string{"TestMailInFlightSurvivesAReplacedDevice", "TestReceiptToAReplacedDeviceComesAgain"}},
		{"7 a wait goes on", "daemon/engine", []string{"TestAWaitOutlivesItsEngine", "TestAWaitWithoutEngineEndsInTime"}},
		{"7 no key or nonce twice", "crypto/ratchet", []string{"TestRollbackRepeatsNoNonce"}},
		{"8 full disk", here, []string{"TestFault08FullDiskAtTheClient", "TestFault08FullDiskAtTheServer"}},
		{"8 full disk and files", here, []string{"TestFault08FullDiskWhileFetching", "TestFault08FullDiskWhileSending", "TestFault08FullDiskAtTheServerWhileSending"}},
		{"9 fsync fails", here, []string{"TestFault09FsyncFails"}},
		{"10 no file descriptors", here, []string{"TestFault10OutOfFileDescriptors"}},
		{"11 partition", here, []string{"TestFault11PartitionBothWays", "TestFault11PartitionOfReplicaOnly"}},
		{"12 half-open", here, []string{"TestFault12HalfOpen"}},
		{"13 frames", here, []string{"TestFault13Frames"}},
		{"14 slow lines, resets", here, []string{"TestFault14SlowLineAndResets"}},
		{"15 restarts during transfers", here, []string{"TestFault15KillServerDuringUpload", "TestFault15KillSenderDuringUpload",
			"TestFault15KillServerDuringDownload", "TestFault15KillRecipientDuringDownload"}},
		{"16 certificate of a peer, and the own one", "daemon/trust", []string{"TestCertificateLife", "TestOwnCertificateIsRenewed"}},
		{"16 renewed in time", "daemon/engine", []string{"TestCertificateIsRenewedAtTwoThirds"}},
		{"16 renewed by the server", "serverd/api", []string{"TestCertificateIsRenewedWhenDue"}},
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
	findTests(t, rows)
	proven := map[string]bool{}
	for _, row := range rows {
		number, _, _ := strings.Cut(row.row, " ")
		proven[number] = true
	}
	_, table, ok := strings.Cut(readDocument(t, "rpc", "DELIVERY.md"), "\n## Faults to survive\n")
	documented := regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(table, -1)
	if !ok || len(documented) != len(proven) {
		t.Errorf("rpc/DELIVERY.md has %d faults; %d have tests", len(documented), len(proven))
	}
	for _, m := range documented {
		if !proven[m[1]] {
			t.Errorf("fault %s of rpc/DELIVERY.md has no test", m[1])
		}
	}
}

// TestEveryPromiseIsProven makes sure that each promise of rpc/DELIVERY.md names
// its tests. That these exist is tested with the other documents.
func TestEveryPromiseIsProven(t *testing.T) {
	t.Parallel()
	_, text, _ := strings.Cut(readDocument(t, "rpc", "DELIVERY.md"), "\n## The promises\n")
	text, _, _ = strings.Cut(text, "\n## ")
	promises := regexp.MustCompile(`(?m)^\*\*(\d+)\. `).FindAllStringSubmatchIndex(text, -1)
	if len(promises) != 12 {
		t.Fatalf("%d promises found, want 12", len(promises))
	}
	for i, at := range promises {
		end := len(text)
		if i+1 < len(promises) {
			end = promises[i+1][0]
		}
		number, promise := text[at[2]:at[3]], text[at[0]:end]
		if number != strconv.Itoa(i+1) {
			t.Errorf("promise %s stands in place %d", number, i+1)
		}
		if _, tests, ok := strings.Cut(promise, "\n*Tests:* "); !ok || !strings.Contains(tests, "Test") {
			t.Errorf("promise %s names no tests", number)
		}
	}
}

func readDocument(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// findTests fails for each test that is not where a table says.
func findTests(t *testing.T, rows []proof) {
	t.Helper()
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

// TestEveryAttackOnFilesIsTested names, for each attack on files and blobs that
// the published ones suggest, the tests that try it.
func TestEveryAttackOnFilesIsTested(t *testing.T) {
	t.Parallel()
	const here = "scripts/faults"
	findTests(t, []proof{
		{"D1 lengths beyond 32 bits", "crypto/seal", []string{"TestFileSizesD1", "TestFileCounterD1"}},
		{"D1 lengths beyond 32 bits", here, []string{"TestFileOfFiveGiB"}},
		{"D2 truncation, order, duplicates, last flag", "crypto/seal", []string{"TestFileStreamD2", "TestFileOrdersD2", "TestFileCutD2", "TestFilePartsD2"}},
		{"D2 in a real transfer", here, []string{"TestFileTamperedByTheServer"}},
		{"D3 header", "crypto/seal", []string{"TestFileHeaderD3"}},
		{"D4 nothing before the check", "crypto/seal", []string{"TestFileNothingBeforeTheTagD4"}},
		{"D5 names", "daemon/files", []string{"TestSafeNameD5"}},
		{"D5 names through real processes", "cmd/secmsg", []string{"TestFileNamesFromHell"}},
		{"D7 clobbering", "rpc/local/place", []string{"TestUniqueD7", "TestPlaceD7"}},
		{"D7 clobbering in a transfer", "daemon/files", []string{"TestTargetsD7"}},
		{"D8 bombs in pictures", "daemon/files", []string{"TestDecompressionBombD8", "TestOpenThumbnailD8"}},
		{"D9 declared sizes that lie", "serverd/api", []string{"TestBlobDeclaredSizeLies"}},
		{"D9 a blob of another size", here, []string{"TestFileTamperedByTheServer"}},
		{"D10 leaks of capabilities", "serverd/api", []string{"TestBlobCapabilityLeak", "TestSignedURLs"}},
		{"D12 quota on reserved bytes", "serverd/api", []string{"TestBlobQuotaOnReservedBytes"}},
		{"D14 confusion at a resume", "serverd/api", []string{"TestBlobResumeConfusion"}},
		{"D11 substitution", here, []string{"TestFileSubstitutedByTheServer"}},
	})
}
