// What KVM does between two operations of a case: serving requests, following APICv.

import { KVM_REQ } from '#sim/state/requests.ts';
import type { Machine } from '#sim/steps.ts';
import type { Bench } from '../adapter.ts';
import { type KvmBench, modeOf } from './bench.ts';
import { done, isModelled, need } from './functions.ts';

/** Takes a request of a vCPU, if it is there, and does what it asks for. */
const serve = (m: Machine, request: number, handle: (vcpu: number) => void): void => {
  for (const { index, requests } of m.vcpu) {
    if (!requests.has(request)) continue;
    requests.clear(request);
    handle(index);
  }
};

export const serveApicvUpdates = ({ m }: KvmBench): void =>
  serve(m, KVM_REQ.APICV_UPDATE, (vcpu) => done(m, vcpu, need('kvm_vcpu_update_apicv')(m, vcpu)));

export const serveIoapicScans = ({ m }: KvmBench): void => {
  serve(m, KVM_REQ.SCAN_IOAPIC, (vcpu) => done(m, vcpu, need('vcpu_scan_ioapic')(m, vcpu)));
  serve(m, KVM_REQ.LOAD_EOI_EXITMAP, (vcpu) =>
    done(m, vcpu, need('vmx_load_eoi_exitmap')(m, vcpu)),
  );
};

/** The VM as a case finds it: map computed, APICv active unless inhibited, nothing requested. */
export function settle(bench: KvmBench): void {
  const { m } = bench;
  if (isModelled('kvm_recalculate_apic_map')) {
    done(m, bench.user, need('kvm_recalculate_apic_map')(m));
  }
  serveApicvUpdates(bench);
  serveIoapicScans(bench);
  for (const vcpu of m.vcpu) {
    vcpu.requests.clearAll();
    checkApicv(bench, vcpu.index);
  }
}

/** A case about active APICv says nothing if the machine that was built has none. */
function checkApicv(bench: KvmBench, vcpu: number): void {
  const { given, m } = bench;
  const active = m.vcpu[vcpu]!.apic.apicv_active;
  const said = given['apicv_active'];
  if (typeof said === 'boolean' && said !== active) {
    throw new Error(`APICv of the machine that was built is ${active ? 'active' : 'inhibited'}`);
  }
  if (active && modeOf(bench, vcpu) === 'disabled') {
    throw new Error('APICv of the machine that was built is active with a disabled APIC');
  }
}

/** vmx_sync_pir_to_irr for each vCPU that uses APICv. */
export const harvest = ({ m }: KvmBench): void => {
  for (const { index, apic } of m.vcpu) {
    if (apic.apicv_active) done(m, index, need('vmx_sync_pir_to_irr')(m, index));
  }
};

/** Looks at the machine in a way that would change it, and takes the changes back. */
export function peek<R>({ m }: Bench, look: () => R): R {
  m.arena.closeStep();
  const { position } = m.arena;
  try {
    return look();
  } finally {
    m.arena.closeStep();
    while (m.arena.position > position) m.arena.undo();
  }
}
