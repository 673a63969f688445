//! The terminal of the monitor: what is drawn, and keys.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use pinhole_device::{DeviceError, LiveFrameClass, LiveMode, LogLevel, Picture, RunningBoard};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

use super::state::{State, camera, mode};
use super::{Args, FRAMES_OF_TRIGGER, LOOK, reports};
use crate::failure::{Failure, Outcome};

/// How often counters are asked for.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Messages taken between two drawings.
const BATCH: usize = 64;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    Mode(LiveMode),
    Picture,
}

/// Shows the board until the user or `--frames` ends it.
pub(super) fn show(args: &Args, board: &mut RunningBoard) -> Outcome {
    if !std::io::stdout().is_terminal() {
        return Err(Failure::new("standard output is no terminal")
            .help("pinhole monitor --json prints one line a frame"));
    }
    let name = match (args.port.name(), board.ask(|link| link.hello())) {
        (_, Ok(info)) => info.board,
        (Some(port), Err(_)) => port.into(),
        (None, Err(_)) => args.board.clone(),
    };
    let mut state = State::new(&name);
    let mut terminal =
        ratatui::try_init().map_err(|error| Failure::new(format_args!("the terminal: {error}")))?;
    let done = run(args, board, &mut state, &mut terminal);
    ratatui::restore();
    done
}

fn run(
    args: &Args,
    board: &mut RunningBoard,
    state: &mut State,
    terminal: &mut ratatui::DefaultTerminal,
) -> Outcome {
    let of_terminal = |error: std::io::Error| Failure::new(format_args!("the terminal: {error}"));
    let mut asked: Option<Instant> = None;
    while args.frames.is_none_or(|frames| state.shown < frames) {
        if asked.is_none_or(|asked| asked.elapsed() > STATUS_EVERY) {
            asked = Some(Instant::now());
            state.status = Some(board.ask(|link| link.live_status())?);
        }
        for _ in 0..BATCH {
            match board.ask(|link| link.next_pushed(LOOK))? {
                Some(pushed) => state.take(pushed, Instant::now()),
                None => break,
            }
            if event::poll(Duration::ZERO).map_err(of_terminal)? {
                break;
            }
        }
        terminal
            .draw(|frame| draw(frame, state, Instant::now()))
            .map_err(of_terminal)?;
        while event::poll(Duration::ZERO).map_err(of_terminal)? {
            let wish = match event::read().map_err(of_terminal)? {
                Event::Key(key) => wish(key),
                _ => None,
            };
            match wish {
                Some(Wish::Quit) => return Ok(()),
                Some(wish) => {
                    grant(args, board, state, wish)?;
                    asked = None;
                }
                None => {}
            }
        }
    }
    Ok(())
}

/// What a key is for.
pub(super) fn wish(key: KeyEvent) -> Option<Wish> {
    if key.kind != KeyEventKind::Press {
        return None;
    }
    let frames = FRAMES_OF_TRIGGER;
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
        KeyCode::Char('c') => Wish::Mode(LiveMode::Continuous),
        KeyCode::Char('s') => Wish::Mode(LiveMode::SingleShot),
        KeyCode::Char('m') => Wish::Mode(LiveMode::OnMotion { frames }),
        KeyCode::Char('i') => Wish::Mode(LiveMode::Idle),
        KeyCode::Char('p') => Wish::Picture,
        _ => return None,
    })
}

/// Does what a key asks for. What the board refuses is shown with its words.
fn grant(args: &Args, board: &mut RunningBoard, state: &mut State, wish: Wish) -> Outcome {
    let done = match wish {
        Wish::Quit => Ok(()),
        Wish::Mode(mode) => board.ask(|link| link.set_mode(mode)),
        Wish::Picture => {
            state.shows_picture = !state.shows_picture;
            state.picture = None;
            board.ask(|link| link.set_reports(reports(args, state.shows_picture)))
        }
    };
    match done {
        Err(error @ DeviceError::Refused { .. }) => {
            state.say(LogLevel::Warn, error.to_string());
            Ok(())
        }
        done => Ok(done?),
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, now: Instant) {
    let [head, middle, log, keys] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Fill(2),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(head_lines(state, now), head);
    let width = match (&state.picture, state.shows_picture) {
        (Some(picture), true) => picture.width as u16 + 2,
        _ => 0,
    };
    let [labels, picture] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(middle);
    frame.render_widget(label_lines(state, labels.width), labels);
    if let (Some(pixels), true) = (&state.picture, state.shows_picture) {
        let block = Block::bordered().title(format!("frame {}", pixels.frame));
        let inside = block.inner(picture);
        frame.render_widget(block, picture);
        paint(pixels, inside, frame.buffer_mut());
    }
    frame.render_widget(log_lines(state, log.height), log);
    let help = "c all frames  s one  m motion  i idle  p picture  q quit";
    frame.render_widget(Paragraph::new(help).style(Color::DarkGray), keys);
}

fn head_lines(state: &State, now: Instant) -> Paragraph<'static> {
    let mut first = format!("{}   {:.1} frames/s", state.board, state.rate(now));
    if let Some(frame) = &state.frame {
        first += &format!(
            "   frame {}   latency {:.1} ms, model {:.1} ms   energy {:.2}{}",
            frame.frame,
            frame.latency_ms(),
            frame.run_ms(),
            frame.energy,
            if frame.rejected { ", in no class" } else { "" }
        );
    }
    let (mut second, mut third) = (String::new(), String::new());
    if let Some(status) = &state.status {
        second = format!(
            "{}, {}   {} frames, {} rejected, {} errors, {} restarts",
            mode(status),
            camera(status),
            status.frames,
            status.rejects,
            status
                .errors
                .iter()
                .map(|count| u64::from(*count))
                .sum::<u64>(),
            status.restarts
        );
        let ms = |ticks: u32| {
            f64::from(ticks) * 1000.0 / f64::from(status.latency.ticks_per_second.max(1))
        };
        third = format!(
            "latency ms: half within {:.1}, 99 of 100 within {:.1}, longest {:.1}   arena {} of {} kB",
            ms(status.latency.p50),
            ms(status.latency.p99),
            ms(status.latency.max),
            status.arena.used.div_ceil(1024),
            status.arena.bytes.div_ceil(1024)
        );
        if let Some(stack) = status.stack {
            third += &format!(
                "   stack {} of {} kB",
                stack.used.div_ceil(1024),
                stack.bytes.div_ceil(1024)
            );
        }
    }
    let bold = Style::new().add_modifier(Modifier::BOLD);
    Paragraph::new(vec![
        Line::styled(first, bold),
        Line::from(second),
        Line::from(third),
    ])
}

/// A line a class: its name, a bar of its average, and numbers.
fn label_lines(state: &State, width: u16) -> Paragraph<'static> {
    let classes = state.frame.iter().flat_map(|frame| &frame.top);
    let lines = classes.map(|class| label_line(class, usize::from(width)));
    Paragraph::new(lines.collect::<Vec<_>>()).block(Block::bordered().title("average, this frame"))
}

fn label_line(class: &LiveFrameClass, width: usize) -> Line<'static> {
    const NUMBERS: usize = 12;
    let name_width = (width / 3).clamp(8, 28);
    let bar_width = width.saturating_sub(name_width + NUMBERS + 4);
    let filled = (class.average.clamp(0.0, 1.0) * bar_width as f32).round() as usize;
    let name: String = class.name.chars().take(name_width).collect();
    let colour = if class.present {
        Color::Green
    } else {
        Color::Gray
    };
    let style = match class.present {
        true => Style::new().fg(colour).add_modifier(Modifier::BOLD),
        false => Style::new().fg(colour),
    };
    Line::from(vec![
        Span::styled(format!("{name:<name_width$} "), style),
        Span::styled("█".repeat(filled), style),
        Span::raw(" ".repeat(bar_width - filled)),
        Span::raw(format!(" {:.2}  {:.2}", class.average, class.probability)),
    ])
}

/// The newest lines that fit.
fn log_lines(state: &State, height: u16) -> Paragraph<'static> {
    let room = usize::from(height.saturating_sub(2));
    let hidden = state.lines.len().saturating_sub(room);
    let lines = state.lines.iter().skip(hidden).map(|(level, text)| {
        let colour = match level {
            LogLevel::Error => Color::Red,
            LogLevel::Warn => Color::Yellow,
            LogLevel::Info | LogLevel::Off => Color::Gray,
        };
        Line::styled(text.clone(), colour)
    });
    Paragraph::new(lines.collect::<Vec<_>>()).block(Block::bordered().title("log"))
}

/// Two pixels a cell: the upper one is the colour of the sign, the lower one that of its ground.
fn paint(picture: &Picture, area: Rect, buffer: &mut Buffer) {
    let colour = |x: usize, y: usize| {
        let at = y * picture.width + x;
        let pixel = picture.pixels.get(at).copied().unwrap_or_default();
        Color::Rgb(pixel[0], pixel[1], pixel[2])
    };
    for row in 0..usize::from(area.height).min(picture.height.div_ceil(2)) {
        for column in 0..usize::from(area.width).min(picture.width) {
            let place = (area.x + column as u16, area.y + row as u16);
            if let Some(cell) = buffer.cell_mut(place) {
                cell.set_char('▀').set_fg(colour(column, 2 * row));
                if 2 * row + 1 < picture.height {
                    cell.set_bg(colour(column, 2 * row + 1));
                }
            }
        }
    }
}
