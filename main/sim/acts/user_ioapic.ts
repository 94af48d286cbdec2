/**
 * The IOAPIC of user space (irqchip split): its pins are routes of KVM, which sends for it and
 * tells it of EOIs.
 */
import { ioapicLockFree } from '../host/locks.ts';
import {
  IOAPIC_REG_REDIRECTION,
  IOAPIC_REG_SELECT,
  IOAPIC_REG_WINDOW,
  ioapic_read_indirect,
} from '../kvm/ioapic.ts';
import type { Msi } from '../kvm/irq_comm.ts';
import { kvm_set_irq, kvm_set_irq_routing } from '../kvm/irqchip.ts';
import { IOAPIC_DEFAULT_BASE_ADDRESS } from '../state/addresses.ts';
import { redirection } from '../state/ioapic.ts';
import { irqchipMode } from '../state/vm.ts';
import { type Body, type Machine, scenarioActor } from '../steps.ts';

/** Level-triggered, in the data of an MSI and in a redirection entry. */
const LEVEL = redirection.LEVEL;
const msiAddress = 0xfee0_0000;
/** Where an MSI has what a redirection entry has in bit 11, and in bits 31:24 of its high half. */
const addressOf = (low: number, dest: number): number =>
  msiAddress + (dest << 12) + ((low & redirection.DEST_MODE) === 0 ? 0 : 1 << 2);

/** The MSI of an entry; a masked one sends nothing. */
const msiOf = (low: number, high: number): Msi | undefined => {
  if ((low & redirection.MASK) !== 0) return undefined;
  const data = low & (LEVEL | redirection.DELIVERY_MODE | redirection.VECTOR);
  return { address_lo: addressOf(low, high >>> 24), address_hi: 0, data };
};

/**
 * User space serializes its IOAPIC. KVM does not: it has all vCPUs scan the new routes while a
 * sender may be on its way by an old one, whose EOI would then be unknown to the vCPU that gets it.
 */
function* locked(m: Machine, body: Body<void>): Body<void> {
  yield m.park('user space: take the lock of its IOAPIC', ioapicLockFree);
  m.vm.ioapic.lock = m.current + 1;
  yield* body;
  yield m.step('user space: release the lock of its IOAPIC');
  m.vm.ioapic.lock = 0;
}

/** An entry is programmed: the route of the pin follows, if there was one or is one now. */
export function* programRoute(m: Machine, pin: number, low: number, high: number): Body<void> {
  yield* locked(m, changeRoute(m, pin, low, high));
}

function* changeRoute(m: Machine, pin: number, low: number, high: number): Body<void> {
  const entry = m.vm.ioapic.redirtbl[pin]!;
  yield m.step('user space: redirection entry of pin {pin}: {low}, {high}', pin, low, high);
  entry.low = low & ~redirection.REMOTE_IRR;
  entry.high = high;
  const msi = msiOf(low, high);
  if (msi === undefined && !m.vm.irq_routing[pin]!.used) return;
  yield* kvm_set_irq_routing(m, pin, msi);
}

/** Half of an entry is written, through the window. */
function* writeWindow(m: Machine, value: number): Body<void> {
  const register = m.vm.ioapic.ioregsel;
  const pin = (register - IOAPIC_REG_REDIRECTION) >> 1;
  const entry = m.vm.ioapic.redirtbl[pin];
  if (entry === undefined) return;
  const isHigh = (register & 1) !== 0;
  yield* programRoute(m, pin, isHigh ? entry.low : value, isHigh ? value : entry.high);
}

/** As much of a register as the access is wide. */
const narrow = (value: number, width: number): number =>
  width < 4 ? value % 2 ** (8 * width) : value;

/** What the window shows; of a pin also whether its EOI is still to come. */
const readWindow = (vm: Machine['vm']): number => {
  const register = vm.ioapic.ioregsel;
  const waits = vm.irq_routing[(register - IOAPIC_REG_REDIRECTION) >> 1]?.remote_irr === true;
  const shown = ioapic_read_indirect(vm);
  return waits && (register & 1) === 0 ? shown | redirection.REMOTE_IRR : shown;
};

/**
 * KVM_EXIT_MMIO: the registers of the IOAPIC, if that is in user space. Elsewhere no device is:
 * writes are lost, and reads give 0.
 */
export const userMmio = scenarioActor(function* userMmio(m: Machine, vcpu: number) {
  const { run_mmio } = m.vcpu[vcpu]!;
  const { ioapic, irqchip_mode } = m.vm;
  const offset = run_mmio.phys_addr - IOAPIC_DEFAULT_BASE_ADDRESS;
  yield m.step('user space: which device is at the address?');
  if (irqchip_mode !== irqchipMode.SPLIT) return;
  if (offset === IOAPIC_REG_SELECT) {
    if (run_mmio.is_write) ioapic.ioregsel = run_mmio.data & 0xff;
    else run_mmio.data = ioapic.ioregsel;
  } else if (offset === IOAPIC_REG_WINDOW) {
    if (run_mmio.is_write) yield* writeWindow(m, run_mmio.data);
    else run_mmio.data = narrow(readWindow(m.vm), run_mmio.len);
  }
});

/** Is there something to send? What is level-triggered then waits for its EOI. */
const takeToSend = (m: Machine, pin: number): boolean => {
  const route = m.vm.irq_routing[pin]!;
  if (!route.used || !route.line) return false;
  if ((route.data & LEVEL) === 0) return true;
  if (route.remote_irr) return false;
  route.remote_irr = true;
  return true;
};

function* changeLine(m: Machine, pin: number, level: boolean): Body<void> {
  yield m.step('user space: line of pin {pin}: {level}; is it to be sent?', pin, level ? 1 : 0);
  m.vm.irq_routing[pin]!.line = level;
  if (takeToSend(m, pin)) yield* kvm_set_irq(m, pin, 1);
}

/** The line of a pin changes. */
export const setUserLine = scenarioActor(function* setUserLine(
  m: Machine,
  pin: number,
  level: boolean,
) {
  yield* locked(m, changeLine(m, pin, level));
});

function* armAgain(m: Machine, vector: number): Body<void> {
  for (const route of m.vm.irq_routing) {
    const { index, data } = route;
    if (!route.used || (data & LEVEL) === 0 || (data & redirection.VECTOR) !== vector) continue;
    yield m.step('user space: vector {vector} of pin {pin} has ended', vector, index);
    route.remote_irr = false;
    if (takeToSend(m, index)) yield* kvm_set_irq(m, index, 1);
  }
}

/** KVM_EXIT_IOAPIC_EOI: every pin with the vector is armed again, and sent if its line is up. */
export const userIoapicEoi = scenarioActor(function* userIoapicEoi(m: Machine, vector: number) {
  yield* locked(m, armAgain(m, vector));
});
