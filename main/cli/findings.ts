// Findings as the command line tells them.

import type { Recording } from '#db/recording.ts';
import type { NamedFinding } from '../checked_run.ts';

/** The findings of a recording, with the words that its steps have. */
export const namedFindings = (recording: Recording): NamedFinding[] =>
  recording.findings.map((finding) => {
    // What broke before the first step was broken by none.
    const step = finding.step < recording.steps ? recording.stepAt(finding.step) : undefined;
    return {
      ...finding,
      actorName: recording.header.actors[finding.actor] ?? '',
      function: step?.function ?? '',
      label: step?.label ?? '',
    };
  });

export const findingAnswer = (finding: NamedFinding) => ({
  invariant: finding.check,
  position: finding.position,
  step: finding.step,
  message: finding.message,
  actor: finding.actorName,
  function: finding.function,
  label: finding.label,
  fields: finding.fields,
  ...(finding.vcpu < 0 ? {} : { vcpu: finding.vcpu }),
});

/** Two lines: what broke where, and why. */
export const findingText = (finding: NamedFinding): string =>
  [
    `${finding.check} broke at position ${finding.position}: ` +
      `${finding.actorName} · ${finding.function} · ${finding.label}`,
    `  ${finding.message}`,
  ].join('\n');
