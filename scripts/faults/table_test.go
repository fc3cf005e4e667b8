//go:build linux

package faults

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
		{"7 a wait goes on", "daemon/engine", []string{"TestAWaitOutlivesItsDevice", "TestAWaitWithoutDeviceEndsInTime"}},
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

// TestEveryPromiseIsProven checks that each promise of rpc/DELIVERY.md names its tests. Another test
// checks that they exist.
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
		if _, tests, ok := strings.Cut(promise, "\n- Tests: "); !ok || !strings.Contains(tests, "Test") {
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

// findTests fails for each test that does not exist where a table names it.
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
			if !strings.Contains(all.String(), "\nfunc "+name+"(t *testing.T)") && !strings.Contains(all.String(), "\nfunc "+name+"(f *testing.F)") {
				t.Errorf("row %s: %s has no %s", row.row, row.dir, name)
			}
		}
	}
}

// attack is a row of crypto/ATTACKS.md.
var attack = regexp.MustCompile(`(?m)^\| ([A-G]\d{1,2}) \| (.+) \| (.+) \| (.+) \|$`)

// attackProofs reads the tests of each attack: "`DIR`: Test..., Test...; `DIR`: ..."
// or "None: " with a reason.
func attackProofs(t *testing.T, document string) map[string][]proof {
	t.Helper()
	in := regexp.MustCompile("^`([a-z0-9/]+)`: ((?:Test|Fuzz)\\w+(?:, (?:Test|Fuzz)\\w+)*)$")
	out := map[string][]proof{}
	for _, row := range attack.FindAllStringSubmatch(document, -1) {
		id, tests := row[1], row[4]
		if _, ok := out[id]; ok {
			t.Errorf("crypto/ATTACKS.md has two rows %s", id)
		}
		out[id] = nil
		if reason, ok := strings.CutPrefix(tests, "None: "); ok && len(reason) > 10 {
			continue
		}
		for part := range strings.SplitSeq(tests, "; ") {
			m := in.FindStringSubmatch(part)
			if m == nil {
				t.Errorf("crypto/ATTACKS.md, %s: %q is neither a directory with tests nor a reason", id, part)
				continue
			}
			out[id] = append(out[id], proof{id, m[1], strings.Split(m[2], ", ")})
		}
	}
	return out
}

// TestEveryAttackIsTested checks that each attack in crypto/ATTACKS.md names existing tests, or says
// why there is none.
func TestEveryAttackIsTested(t *testing.T) {
	t.Parallel()
	rows := attackProofs(t, readDocument(t, "crypto", "ATTACKS.md"))
	if len(rows) < 90 {
		t.Errorf("only %d attacks found", len(rows))
	}
	for _, row := range rows {
		findTests(t, row)
	}
}

// TestAttacksInCodeAreDocumented checks that each id in a comment or in the name of a test is in
// crypto/ATTACKS.md, and that the attack's row names each test that names the attack.
func TestAttacksInCodeAreDocumented(t *testing.T) {
	t.Parallel()
	rows := attackProofs(t, readDocument(t, "crypto", "ATTACKS.md"))
	word := regexp.MustCompile(`\b([A-G][0-9]{1,2})\b`)
	named := regexp.MustCompile(`^func ((?:Test)(?:\w*[a-z_])?([A-G][0-9]{1,2})(?:_\w+)?)\(t \*testing\.T\)`)
	found := 0
	for _, top := range []string{"cmd", "config", "crypto", "daemon", "rpc", "scripts", "serverd"} {
		root := filepath.Join("..", "..", top)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, ".pb.go") {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(b)) {
				if _, comment, ok := strings.Cut(line, "//"); ok {
					for _, m := range word.FindAllStringSubmatch(comment, -1) {
						found++
						if _, ok := rows[m[1]]; !ok {
							t.Errorf("%s names %s, which is not in crypto/ATTACKS.md", path, m[1])
						}
					}
				}
				if m := named.FindStringSubmatch(line); m != nil {
					found++
					dir := filepath.ToSlash(filepath.Dir(strings.TrimPrefix(path, filepath.Join("..", "..")+string(filepath.Separator))))
					if !slices.ContainsFunc(rows[m[2]], func(p proof) bool { return p.dir == dir && slices.Contains(p.tests, m[1]) }) {
						t.Errorf("%s has %s, which the row %s of crypto/ATTACKS.md does not name", dir, m[1], m[2])
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 100 {
		t.Errorf("only %d ids found", found)
	}
}
