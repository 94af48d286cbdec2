// Interrupts that L1 posts to its L2: the sender, the processing in software, and what wakes L2.

import { expect, test } from 'vitest';
import { boot } from '#sim/boot.ts';
import { writeFrame } from '#sim/hw/memory.ts';
import { kvm_vcpu_has_events } from '#sim/kvm/block.ts';
import { ENXIO } from '#sim/kvm/errno.ts';
import { cacheOf } from '#sim/kvm/vmx/nested/caches.ts';
import { vmx_check_nested_events } from '#sim/kvm/vmx/nested/events.ts';
import {
  morphAtEntry,
  vmx_complete_nested_posted_interrupt,
  vmx_has_nested_events,
} from '#sim/kvm/vmx/nested/posted.ts';
import { prepare_vmcs02_early } from '#sim/kvm/vmx/nested/prepare.ts';
import { nested_vmx_enter_non_root_mode } from '#sim/kvm/vmx/nested/run.ts';
import { __nested_vmx_vmexit, exitTo, NO_EXIT } from '#sim/kvm/vmx/nested/vmexit.ts';
import { vmx_deliver_interrupt } from '#sim/kvm/vmx/posted_intr.ts';
import { APIC_PROCPRI } from '#sim/state/apicdef.ts';
import { gpcOf } from '#sim/state/gpc.ts';
import { mappingKind } from '#sim/state/nested.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { hostVector, kvmExit, loadedVmcs, taskState, vcpuMode } from '#sim/state/vcpu.ts';
import { exitReason, pinControl } from '#sim/state/vmcs.ts';
import { type Machine, scenarioActor } from '#sim/steps.ts';
import { compileLibrary } from '../scenario_run.ts';
import { begin, byHand, complete, goOn, goTo } from '../small_machine.ts';
import {
  isOn,
  isPosted,
  isRequestedOfL2,
  type L2Wishes,
  l2Machine,
  NV,
  post,
  requestOfL1,
} from './l2_machine.ts';

const rvi = (m: Machine): number => m.vcpu[0]!.vmcs02.guest_intr_status & 0xff;
const notify = (m: Machine): void =>
  byHand(m, () => {
    m.vcpu[0]!.nested.pi_pending = true;
  });
const finish = (m: Machine): number =>
  complete(m, 'vcpu0', () => vmx_complete_nested_posted_interrupt(m, 0));
const send = (m: Machine): void => {
  complete(m, 'user', () => vmx_deliver_interrupt(m, 0, NV));
};

/** [pi_pending, EVENT, notification of KVM for L2 sent, NV in L1's PIR or IRR] */
const sent = (m: Machine): boolean[] => {
  const { nested, requests, pi_desc, apic } = m.vcpu[0]!;
  return [
    nested.pi_pending,
    requests.has(KVM_REQ.EVENT),
    m.cpu[0]!.pending.has(hostVector.POSTED_INTR_NESTED),
    pi_desc.pir.has(NV) || apic.irr.has(NV),
  ];
};

test.each(['off', 'on'])('what was posted becomes requested (apart: %s)', (apart) => {
  const m = l2Machine({ switches: { 'gpc-unlock-before-refresh': apart } });
  post(m, 0x31);
  post(m, 0x61);
  notify(m);
  expect([finish(m), rvi(m), isOn(m)]).toEqual([0, 0x61, false]);
  expect([isRequestedOfL2(m, 0x31), isRequestedOfL2(m, 0x61)]).toEqual([true, true]);
  expect([isPosted(m, 0x31), isPosted(m, 0x61)]).toEqual([false, false]);
  expect(m.vcpu[0]!.nested.pi_pending).toBe(false);
});

test('RVI does not fall', () => {
  const m = l2Machine();
  byHand(m, () => {
    m.vcpu[0]!.vmcs02.guest_intr_status = 0x2071;
  });
  post(m, 0x61);
  notify(m);
  finish(m);
  expect(m.vcpu[0]!.vmcs02.guest_intr_status).toBe(0x2071);
});

test('R40: vector 0 alone stays in PIR, and ON is cleared', () => {
  const m = l2Machine();
  post(m, 0);
  notify(m);
  expect([finish(m), isPosted(m, 0), isOn(m)]).toEqual([0, true, false]);
});

test('nothing happens without a notification', () => {
  const m = l2Machine();
  post(m, 0x61);
  expect([finish(m), isOn(m), rvi(m)]).toEqual([0, true, 0]);
});

test.each(['pi_desc_map', 'virtual_apic_map'] as const)('a missing %s stops the VM', (map) => {
  const m = l2Machine();
  post(m, 0x61);
  notify(m);
  byHand(m, () => {
    m.vcpu[0]!.nested[map].mapping = mappingKind.NONE;
  });
  const result = complete(m, 'vcpu0', () => vmx_check_nested_events(m, 0));
  expect([result, m.vcpu[0]!.exit_reason]).toEqual([-ENXIO, kvmExit.INTERNAL_ERROR]);
});

test('a sender notifies an L2 that runs with the vector of KVM, and wakes one that sleeps', () => {
  const m = l2Machine();
  byHand(m, () => {
    m.vcpu[0]!.mode = vcpuMode.IN_GUEST_MODE;
  });
  send(m);
  expect(sent(m)).toEqual([true, true, true, false]);

  const asleep = l2Machine();
  byHand(asleep, () => {
    asleep.vcpu[0]!.task_state = taskState.BLOCKED;
  });
  send(asleep);
  expect(sent(asleep)).toEqual([true, true, false, false]);
  expect(asleep.vcpu[0]!.task_state).toBe(taskState.RUNNING);
});

test('to an L1 that runs, or an L2 without posted interrupts, it is an interrupt like others', () => {
  const l1 = l2Machine();
  byHand(l1, () => {
    l1.vcpu[0]!.guest_mode = false;
  });
  send(l1);
  expect(sent(l1)).toEqual([false, false, false, true]);

  const plain = l2Machine({ pin: [pinControl.EXT_INTR] });
  send(plain);
  expect(sent(plain)).toEqual([false, false, false, true]);
});

test('R31: without the barrier the mode is read while others see neither pi_pending nor EVENT', () => {
  const notified = (value: string) => {
    const m = l2Machine({ switches: { 'nested-pi-mb': value } });
    begin(m, 'user', () => vmx_deliver_interrupt(m, 0, NV));
    goTo(m, 'user', 'kvm_vcpu_trigger_posted_interrupt', 'is the target');
    const { nested, requests } = m.vcpu[0]!;
    const seen = [nested.pi_pending, requests.has(KVM_REQ.EVENT)];
    goOn(m, 'user');
    return [seen, [nested.pi_pending, requests.has(KVM_REQ.EVENT)]];
  };
  expect(notified('on')).toEqual([
    [true, true],
    [true, true],
  ]);
  // Who is asleep is woken behind a barrier; the mode was read ahead of that.
  expect(notified('off')).toEqual([
    [false, false],
    [true, true],
  ]);
});

test('R34: a sender that reads vmcs12 takes what L1 has just loaded for the L2 that runs', () => {
  const after = (value: string) => {
    const m = l2Machine({ switches: { 'nested-pi-cached-nv': value } });
    byHand(m, () => {
      m.vcpu[0]!.nested.cached_vmcs12.posted_intr_nv = 0x41;
    });
    send(m);
    return [m.vcpu[0]!.nested.pi_pending, m.vcpu[0]!.spec.vmcs12_foreign_reads];
  };
  expect([after('on'), after('off')]).toEqual([
    [true, 0],
    [false, 1],
  ]);
});

/** The sender has seen L2; then L2 ends, and the sender goes on. */
const lateSender = (wishes: L2Wishes) => {
  const m = l2Machine(wishes);
  begin(m, 'user', () => vmx_deliver_interrupt(m, 0, NV));
  goTo(m, 'user', 'vmx_deliver_nested_posted_interrupt', 'pi_pending = true');
  complete(m, 'vcpu0', () => __nested_vmx_vmexit(m, 0));
  goOn(m, 'user');
  return m;
};

test('R38: a notification that comes behind the exit is lost, unless the sender looks again', () => {
  const lost = lateSender({});
  expect(sent(lost)).toEqual([true, true, false, false]);
  complete(lost, 'vcpu0', () => prepare_vmcs02_early(lost, 0));
  expect(sent(lost)[0]).toBe(false);

  const kept = lateSender({ switches: { 'nested-nv-redeliver': 'on' } });
  expect([sent(kept)[0], sent(kept)[3]]).toEqual([false, true]);
});

test('R38: so is one that the exit finds unprocessed', () => {
  const requested = (value: string) => {
    const m = l2Machine({ switches: { 'nested-nv-redeliver': value } });
    notify(m);
    complete(m, 'vcpu0', () => __nested_vmx_vmexit(m, 0));
    return [m.vcpu[0]!.nested.pi_pending, m.vcpu[0]!.apic.irr.has(NV)];
  };
  expect([requested('off'), requested('on')]).toEqual([
    [true, false],
    [false, true],
  ]);
});

test('R38: it is lost only if the CPU has left ON set, and only an exit to L1 loses it', () => {
  const lost = (lay: (m: Machine) => void, reason: number = exitReason.VMCALL) => {
    const m = l2Machine();
    byHand(m, () => {
      m.vcpu[0]!.vmcs02.pin_based_vm_exec_control.set(pinControl.POSTED_INTR);
    });
    lay(m);
    complete(m, 'vcpu0', () => __nested_vmx_vmexit(m, 0, exitTo(reason)));
    return m.vcpu[0]!.spec.notifications_lost;
  };
  const posted = (m: Machine) => post(m, 0x61);
  const notified = (m: Machine) => {
    posted(m);
    notify(m);
  };
  expect([lost(notified), lost(posted), lost(notify), lost(notified, NO_EXIT)]).toEqual([
    1, 0, 0, 0,
  ]);
});

test('R34: an L2 without posted interrupts has no notification vector, since v6.12', () => {
  const vector = (value: string) => {
    const m = l2Machine({ switches: { 'nested-nv-invalidated': value } });
    byHand(m, () => {
      m.vcpu[0]!.nested.cached_vmcs12.pin_based_vm_exec_control.clear(pinControl.POSTED_INTR);
    });
    complete(m, 'vcpu0', () => prepare_vmcs02_early(m, 0));
    return m.vcpu[0]!.nested.posted_intr_nv;
  };
  expect([vector('off'), vector('on')]).toEqual([NV, -1]);
});

test('R38: the next L2 keeps what its sender will take for delivered', () => {
  const kept = (value: string) => {
    const m = l2Machine({ switches: { 'nested-nv-redeliver': value } });
    notify(m);
    complete(m, 'vcpu0', () => prepare_vmcs02_early(m, 0));
    return sent(m).slice(0, 2);
  };
  expect([kept('off'), kept('on')]).toEqual([
    [false, false],
    [true, true],
  ]);
});

test('R39: a restored L2 looks into its descriptor only with migrate-pi-pending', () => {
  const pending = (value: string) => {
    const m = l2Machine({ switches: { 'migrate-pi-pending': value } });
    byHand(m, () => {
      m.vcpu[0]!.guest_mode = false;
      m.vcpu[0]!.loaded_vmcs = loadedVmcs.VMCS01;
    });
    complete(m, 'vcpu0', () => nested_vmx_enter_non_root_mode(m, 0, false));
    return sent(m).slice(0, 2);
  };
  expect([pending('off'), pending('on')]).toEqual([
    [false, false],
    [true, true],
  ]);
});

test('R35: VMRESUME with the notification pending in L1 processes it', () => {
  const after = (value: string) => {
    const m = l2Machine({ switches: { 'nv-irq-morph': value } });
    requestOfL1(m, NV);
    complete(m, 'vcpu0', () => scenarioMorph(m));
    return sent(m);
  };
  expect(after('at-entry')).toEqual([true, true, false, false]);
  expect(after('off')).toEqual([false, false, false, true]);
});

const scenarioMorph = scenarioActor(function* scenarioMorph(m: Machine) {
  yield* morphAtEntry(m, 0);
});

test('R37: a halted L2 is woken by what is posted for it', () => {
  const woken = (value: string, vppr: number) => {
    const m = l2Machine({ switches: { 'nested-has-events': value } });
    post(m, 0x61);
    notify(m);
    byHand(m, () => {
      writeFrame(m, m.vcpu[0]!.nested.virtual_apic_map.pfn, APIC_PROCPRI, vppr);
    });
    return complete(m, 'vcpu0', () => kvm_vcpu_has_events(m, 0));
  };
  expect([woken('on', 0), woken('on', 0x60), woken('off', 0)]).toEqual([true, false, false]);
});

test('RVI above VPPR wakes it too, but is nothing that KVM has to inject', () => {
  const m = l2Machine();
  byHand(m, () => {
    m.vcpu[0]!.vmcs02.guest_intr_status = 0x61;
  });
  const has = (forInjection: boolean): boolean =>
    complete(m, 'vcpu0', () => vmx_has_nested_events(m, 0, forInjection));
  expect([has(false), has(true)]).toEqual([true, false]);
  byHand(m, () => {
    m.vcpu[0]!.guest.rflags_if = false;
  });
  expect(has(false)).toBe(false);
});

/** L2 sleeps, and was notified; then its virtual-APIC page is taken away on the way to it. */
const refreshInCompletion = (apart: string): Machine => {
  const { config } = compileLibrary('nested-posted-halted', {
    profile: 'gpc-v1',
    switches: { 'gpc-unlock-before-refresh': apart },
  });
  const m = boot(config);
  goOn(m, 'vcpu0');
  goOn(m, 'vcpu1');
  goTo(m, 'vcpu0', 'vmx_complete_nested_posted_interrupt', 'pi_pending = false');
  byHand(m, () => {
    cacheNamed(m, 'virtual_apic_cache').valid = false;
  });
  goTo(m, 'vcpu0', 'hva_to_pfn_retry');
  return m;
};

const cacheNamed = (m: Machine, name: Parameters<typeof cacheOf>[2]) =>
  gpcOf(m, cacheOf(m, 0, name));

test('R79: the virtual-APIC page is refreshed with the descriptor locked, or apart', () => {
  const readers = (apart: string) =>
    cacheNamed(refreshInCompletion(apart), 'pi_desc_cache').lock.readers;
  expect([readers('off'), readers('on')]).toEqual([1, 0]);
});

test('the descriptor stays locked until RVI has what was in it', () => {
  const readers = (apart: string) => {
    const m = refreshInCompletion(apart);
    goTo(m, 'vcpu0', 'vmx_complete_nested_posted_interrupt', 'VMWRITE RVI');
    return cacheNamed(m, 'pi_desc_cache').lock.readers;
  };
  expect([readers('off'), readers('on')]).toEqual([1, 0]);
});

test('R79: either way L2 gets what was posted', () => {
  for (const apart of ['off', 'on']) {
    const m = refreshInCompletion(apart);
    goOn(m, 'vcpu0');
    const { delivered, delivered_count } = m.vcpu[0]!.guest;
    expect([delivered_count, delivered[0]!.vector]).toEqual([1, 0x61]);
    expect(cacheNamed(m, 'pi_desc_cache').lock.readers).toBe(0);
  }
});
