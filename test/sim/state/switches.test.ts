// Protections and profiles: one table, and every name in it is right.

import { expect, test } from 'vitest';
import { checks } from '#sim/checks/index.ts';
import {
  flagsOf,
  isRequest,
  KVM_REQ,
  KVM_REQ_OUTSIDE_GUEST_MODE,
  OUTSIDE_GUEST_MODE_NO_WAIT,
  requestCount,
} from '#sim/state/requests.ts';
import { defaultProfile, profileOf, profiles, switches, switchOf } from '#sim/state/switches.ts';

test('each profile gives each switch one of its values', () => {
  for (const profile of profiles) {
    expect(Object.keys(profile.switches).sort()).toEqual(switches.map(({ id }) => id).sort());
    for (const [id, value] of Object.entries(profile.switches)) {
      expect(switchOf(id)?.values).toContain(value);
    }
  }
  expect(profileOf(defaultProfile)?.id).toBe(defaultProfile);
});

test('the usual profile has every protection at its usual value', () => {
  const usual = Object.fromEntries(switches.map(({ id, values }) => [id, values[0]]));
  expect(profileOf(defaultProfile)?.switches).toEqual(usual);
});

test('ids are unique, and races have the form of the reference', () => {
  for (const list of [switches, profiles, checks]) {
    const ids = list.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  }
  const races = [...switches, ...checks].flatMap((one) => [...one.races]);
  expect(races.filter((race) => !/^R\d\d$/.test(race))).toEqual([]);
});

test('requests have numbers of their own, and those of the architecture begin at 8', () => {
  const numbers = Object.values(KVM_REQ);
  expect(new Set(numbers).size).toBe(numbers.length);
  expect(Math.max(...numbers)).toBeLessThan(requestCount);
  expect(KVM_REQ).toMatchObject({
    TLB_FLUSH: 0,
    EVENT: 14,
    APIC_PAGE_RELOAD: 25,
    GET_NESTED_STATE_PAGES: 32,
    APICV_UPDATE: 33,
    TLB_FLUSH_CURRENT: 34,
  });
});

test('whoever flushes or reloads waits for the acks and wakes nobody; EVENT does neither', () => {
  const waiting = { wait: true, noWakeup: true };
  expect(flagsOf(KVM_REQ.TLB_FLUSH)).toEqual(waiting);
  expect(flagsOf(KVM_REQ.APIC_PAGE_RELOAD)).toEqual(waiting);
  expect(flagsOf(KVM_REQ.APICV_UPDATE)).toEqual(waiting);
  expect(flagsOf(KVM_REQ.TLB_FLUSH_CURRENT)).toEqual({ wait: false, noWakeup: false });
  expect(flagsOf(KVM_REQ.EVENT)).toEqual({ wait: false, noWakeup: false });
});

test('to be outside the guest is no request: nobody is woken, and no bit is left', () => {
  expect(flagsOf(KVM_REQ_OUTSIDE_GUEST_MODE)).toEqual({ wait: true, noWakeup: true });
  expect(flagsOf(OUTSIDE_GUEST_MODE_NO_WAIT)).toEqual({ wait: false, noWakeup: true });
  expect(isRequest(KVM_REQ_OUTSIDE_GUEST_MODE)).toBe(false);
  expect(Object.values(KVM_REQ).every(isRequest)).toBe(true);
});

/** What a profile changes against another. */
const changes = (of: string, base: string): Record<string, string> => {
  const before = new Map(Object.entries(profileOf(base)!.switches));
  const after = Object.entries(profileOf(of)!.switches);
  return Object.fromEntries(after.filter(([id, value]) => before.get(id) !== value));
};

test('the series that were not merged stand on k6.13, not on what came after it', () => {
  expect(changes('gpc-v1', 'k6.13')).toEqual({ 'l1-pages': 'gpc' });
  // The late check of VTPR is a module option that is off by default.
  expect(changes('gpc-v4', 'gpc-v1')).toEqual({
    'nested-context-table': 'on',
    'evmcs-gpc': 'on',
  });
});
