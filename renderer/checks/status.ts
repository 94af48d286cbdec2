// How the invariants stand at a position: held, broken since when, or not applicable there.

import type { Check, Finding } from '../../main/sim/checks/check.ts';
import type { MachineView } from '../../main/sim/state/machine.ts';

export interface Status {
  readonly check: Check;
  readonly state: 'held' | 'broken' | 'was broken' | 'not applicable';
  /** the position that the user is sent to: where it broke, also if that is still ahead */
  readonly at: number | undefined;
  readonly message: string;
}

const violationNow = (check: Check, machine: MachineView): string | undefined => {
  if (check.per === 'machine') return check.broken(machine, -1)?.message;
  for (let v = 0; v < machine.vcpu.length; v++) {
    const violation = check.broken(machine, v);
    if (violation !== undefined) return violation.message;
  }
  return undefined;
};

interface Place {
  readonly machine: MachineView;
  readonly position: number;
  readonly steps: number;
  readonly findings: readonly Finding[];
}

/** The instant that a check looks at: each step, entries, exits, or when all is quiet. */
const isDue = (check: Check, place: Place): boolean => {
  switch (check.when) {
    case 'step':
      return true;
    case 'entry':
      return place.machine.vcpu.some((vcpu) => vcpu.non_root);
    case 'exit':
      return place.machine.vcpu.some((vcpu) => !vcpu.non_root);
    case 'quiet':
      return place.position === place.steps;
  }
};

const statusOf = (check: Check, place: Place): Status => {
  const mine = place.findings.filter((finding) => finding.check === check.id);
  const since = mine.findLast((finding) => finding.position <= place.position);
  const ahead = mine.find((finding) => finding.position > place.position);
  if (check.when === 'step') {
    const message = violationNow(check, place.machine);
    if (message !== undefined) {
      return { check, state: 'broken', at: since?.position ?? place.position, message };
    }
  }
  if (since !== undefined) {
    const still = check.when !== 'step' && since.position === place.position;
    return {
      check,
      state: still ? 'broken' : 'was broken',
      at: since.position,
      message: since.message,
    };
  }
  const state = isDue(check, place) ? 'held' : 'not applicable';
  return { check, state, at: ahead?.position, message: '' };
};

/** All invariants, the broken ones first. */
export const statusesAt = (checks: readonly Check[], place: Place): Status[] => {
  const order = { broken: 0, 'was broken': 1, held: 2, 'not applicable': 3 };
  return checks
    .map((check) => statusOf(check, place))
    .sort((a, b) => order[a.state] - order[b.state]);
};

/** When a check that does not apply would. */
export const whenText: Readonly<Record<Check['when'], string>> = {
  step: 'looked at after every step',
  entry: 'looked at when a vCPU enters the guest',
  exit: 'looked at when a vCPU leaves the guest',
  quiet: 'looked at when nobody can move any more',
};
